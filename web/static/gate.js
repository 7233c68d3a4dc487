// The gate: whom do you claim to be, look into the camera, answer.
//
//   ask ─▶ camera ─▶ guidance, best frames ─▶ (challenge) ─▶ one request with several ─▶ answer

import { $, announce, ask, el, later, meter, oneIn, reason, similarity, t, tn, told, Refused } from "./page.js";
import { Camera, cameraProblem } from "./camera.js";

const WANTED = Math.min(4, told.frames); // frames that are fused
const KEPT = 24; // frames in memory, of which the sharpest are taken
const LOOK = 45; // ms between frames
const PAUSE = 90; // ms between questions to the server
const PATIENCE = 20_000; // ms until the page gives up and calls somebody
const camera = new Camera($("video"));
const input = $("who"), list = $("choices");
let turn = 0; // everything that belongs to an earlier turn is dropped
let timer = 0, spoken = "";

// Whom?

let found = [], picked = -1;
function showChoices(people) {
  found = people;
  picked = -1;
  input.removeAttribute("aria-activedescendant");
  list.replaceChildren(...people.map((person, i) => el(
    "li", { role: "option", id: `choice${i}`, "aria-selected": "false", onclick: () => begin(person) },
    person.name, el("small", {}, person.site || ""),
  )));
  list.hidden = people.length === 0;
  input.setAttribute("aria-expanded", String(people.length > 0));
}

function pick(step) {
  if (!found.length) return;
  picked = (picked + step + found.length + (picked < 0 && step < 0 ? 1 : 0)) % found.length;
  for (const [i, item] of [...list.children].entries()) item.setAttribute("aria-selected", String(i === picked));
  input.setAttribute("aria-activedescendant", `choice${picked}`);
}

const search = (q, limit) => ask("GET", `/v1/people?limit=${limit}&q=${encodeURIComponent(q)}`).then((page) => page.items);
const suggest = later(async () => {
  const q = input.value.trim();
  if (told.kiosk || q.length < 2) return showChoices([]);
  try {
    const people = await search(q, 6);
    if (input.value.trim() === q) showChoices(people);
  } catch (error) { problem(error); }
});
input.addEventListener("input", () => { $("who-problem").textContent = ""; suggest(); });
input.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") { pick(event.key === "ArrowDown" ? 1 : -1); event.preventDefault(); }
  else if (event.key === "Escape") showChoices([]);
});

/** The one person that was typed or scanned: a uid, else the whole name, else the only match. */
async function meant(text) {
  if (/^[0-9a-f]{32}$/i.test(text)) return ask("GET", `/v1/people/${text.toLowerCase()}`);
  const people = await search(text, 20);
  const same = people.filter((person) => person.name.toLowerCase() === text.toLowerCase());
  if (same.length === 1) return same[0];
  if (!told.kiosk && people.length === 1) return people[0];
  if (!told.kiosk && people.length) showChoices(people.slice(0, 6));
  throw new Refused(404, {
    code: people.length > 1 && !told.kiosk ? "which" : "nobody",
    message: t(people.length > 1 && !told.kiosk ? "gate.which" : "gate.nobody"),
  });
}

$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!text) return;
  if (told.kiosk && !document.fullscreenElement) document.documentElement.requestFullscreen?.().catch(() => {});
  try {
    await begin(picked >= 0 ? found[picked] : await meant(text));
  } catch (error) { problem(error); }
});
function problem(error) {
  $("who-problem").textContent = error.code === "unknown_person" ? t("gate.nobody") : reason(error.code, error.message);
  input.select();
}

// Look

function say(words, state = "") {
  $("say").textContent = words;
  $("guide").textContent = words;
  $("stage").dataset.state = state;
  if (words !== spoken) { spoken = words; announce(words); }
}

function show(which) {
  for (const id of ["ask", "capture", "answer"]) $(id).hidden = id !== which;
  const live = which === "capture";
  $("oval").hidden = !live;
  $("idle").toggleAttribute("hidden", which !== "ask");
  if (which !== "answer") $("still").hidden = true;
  $("dots").replaceChildren(...(live ? Array.from({ length: WANTED }, () => el("i")) : []));
}

/** A turn of the gate for somebody. */
async function begin(person) {
  const mine = ++turn;
  showChoices([]);
  show("capture");
  spoken = "";
  $("claimed").textContent = t("gate.claimed", { name: person.name });
  say(t("gate.starting"));
  $("guide").focus();
  performance.mark("camera-start");
  try {
    await camera.start();
    if (mine !== turn) { camera.stop(); return; }
    await attempt(mine, person);
  } catch (error) {
    if (mine !== turn || error.name === "AbortError") return;
    if (error instanceof Refused) answer({ person, refused: error });
    else answer({ person, refused: new Refused(0, { code: "camera", message: t(cameraProblem(error)) }) });
  } finally {
    if (mine === turn) camera.stop();
  }
}

async function attempt(mine, person) {
  const passed = $("challenge")?.checked ?? told.challenge ? await challenge(mine, person) : null;
  for (let tries = 0; mine === turn; tries++) {
    const frames = await gather(mine);
    if (mine !== turn) return;
    if (!frames) return answer({ person, refused: new Refused(0, { code: "nothing_seen", message: t("gate.nothing_seen") }) });
    say(t("gate.deciding"), "ok");
    freeze(frames[0].frame);
    const form = new FormData();
    for (const [i, blob] of (await Promise.all(frames.map((frame) => camera.keep(frame)))).entries()) {
      form.append("image", blob, `${i}.jpg`);
    }
    if (passed) form.append("challenge", passed);
    try {
      const decision = await ask("POST", `/v1/people/${person.uid}/verify`, form);
      if (mine === turn) answer({ person, decision });
      return;
    } catch (error) {
      // a picture that cannot be used is no attempt that failed: look again, twice
      if (error.status !== 422 || passed || tries >= 2 || !told.text[`reason.${error.code}`]) throw error;
      say(reason(error.code, error.message));
    }
  }
}

/** The sharpest frames that the server called good; null after a long while without any. */
async function gather(mine) {
  const began = performance.now(), kept = [];
  let good = 0, box = undefined, asking = false, stop = false, hurry = false, failed = null, next = 0;
  $("now").onclick = () => { hurry = true; };
  const question = async (frame) => {
    asking = true;
    try {
      const form = new FormData();
      form.append("image", await camera.glance(frame), "look.jpg");
      const seen = await ask("POST", "/v1/detect", form);
      if (mine !== turn || stop) return;
      frame.ok = seen.guidance === "ok";
      good = frame.ok ? good + 1 : 0;
      if (seen.faces.length) {
        const best = seen.faces.reduce((a, b) => (b.box[2] * b.box[3] > a.box[2] * a.box[3] ? b : a)).box;
        box = [best[0] / seen.width, best[1] / seen.height, best[2] / seen.width, best[3] / seen.height];
        frame.sharpness = camera.sharpness(frame, box);
      }
      if (good === 0) for (const one of kept) one.ok = false;
      [...$("dots").children].forEach((dot, i) => dot.classList.toggle("full", i < Math.min(WANTED, good * 2)));
      say(t(`guide.${seen.guidance}`), frame.ok ? "ok" : "");
    } catch (error) {
      if (error.status === 429) next = performance.now() + 1000 * Math.max(1, error.retry);
      else failed = error;
    } finally {
      asking = false;
      next = Math.max(next, performance.now() + PAUSE);
    }
  };
  while (mine === turn) {
    if (failed) throw failed;
    const frame = camera.grab();
    frame.sharpness = camera.sharpness(frame, box);
    kept.push(frame);
    if (kept.length > KEPT) kept.shift();
    if (!asking && performance.now() >= next) question(frame);
    // two good answers, and what was taken between and just after them
    const first = kept.findIndex((one) => one.ok);
    const usable = hurry ? kept : first < 0 ? [] : kept.slice(first);
    if (hurry || (good >= 2 && usable.length >= WANTED)) {
      stop = true;
      return best(usable);
    }
    if (performance.now() - began > PATIENCE) return null;
    await new Promise((done) => setTimeout(done, LOOK));
  }
  return null;
}

/** What was decided on stays in sight until the next person. */
function freeze(frame) {
  const still = $("still");
  [still.width, still.height] = [frame.width, frame.height];
  still.getContext("2d").drawImage(frame, 0, 0);
}

const best = (frames) => frames.toSorted((a, b) => b.sharpness - a.sharpness).slice(0, WANTED);

/** Turn the head as asked; the token of the challenge, which the decision uses up. */
async function challenge(mine, person) {
  const begun = await ask("POST", "/v1/challenge", { person: person.uid, mirrored: false });
  let status = begun;
  while (mine === turn && status.result === null) {
    say(status.hint || status.text);
    const form = new FormData();
    form.append("image", await camera.glance(camera.grab()), "look.jpg");
    status = await ask("POST", `/v1/challenge/${begun.id}/frames`, form);
  }
  return begun.id;
}

// Answer

const PAD = new Set(["not_run", "bona_fide", "attack", "undecided"]);

function answer({ person, decision, refused }) {
  camera.stop();
  const seen = Boolean(decision);
  const kind = decision ? decision.answer : "unsure";
  const box = $("answer");
  box.dataset.answer = kind;
  box.replaceChildren(
    ...(decision && told.showing.includes(person.site) ? [el("img", {
      className: "face stored", src: person.thumbnail ?? "", width: 96, height: 96, alt: t("gate.stored", { name: person.name }),
    })] : []),
    el("p", { className: "word", id: "word" }, t(`gate.answer.${kind}`)),
    el("p", { className: "why" }, decision ? t(`gate.why.${decision.pad?.outcome === "attack" ? "attack" : kind}`, { name: person.name }) : reason(refused.code, refused.message)),
    ...(decision ? evidence(decision) : []),
    el("div", { className: "row" },
      el("button", { className: "first", id: "next", type: "button", onclick: restart }, t("gate.next")),
      kind === "yes" ? null : el("button", { type: "button", onclick: () => { clearTimeout(timer); begin(person); } }, t("gate.again"))),
  );
  show("answer");
  $("still").hidden = !seen;
  $("idle").toggleAttribute("hidden", seen);
  say(decision ? t(`gate.answer.${kind}`) : t("gate.answer.unsure"));
  box.focus();
  turn++; // what is still under way belongs to the past
  performance.mark("answer");
  if (told.kiosk) timer = setTimeout(restart, told.seconds * 1000);
}

function evidence(decision) {
  const outcome = PAD.has(decision.pad?.outcome) ? decision.pad.outcome : "not_run";
  const facts = [
    [t("fact.similarity"), t("fact.similarity.value", { value: similarity(decision.similarity), cut: similarity(decision.threshold) })],
    [t("fact.rate"), oneIn(decision.fmr)],
    [t("fact.compared"), tn("fact.compared.value", decision.templates)],
    [t("fact.pad"), t(`pad.${outcome}`)],
  ];
  return [
    meter(decision.similarity, decision.threshold, decision.answer),
    el("dl", { className: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    ...(decision.reasons ?? []).map((text) => el("p", { className: "soft" }, text)),
  ];
}

function restart() {
  clearTimeout(timer);
  turn++;
  camera.stop();
  input.value = "";
  $("who-problem").textContent = "";
  showChoices([]);
  show("ask");
  spoken = t("gate.idle");
  say(spoken, "idle");
  input.focus();
}

$("cancel").addEventListener("click", restart);
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && $("ask").hidden) restart();
});
addEventListener("pagehide", () => camera.stop());
if (told.kiosk) addEventListener("contextmenu", (event) => event.preventDefault());

const given = new URLSearchParams(location.search).get("who");
if (given && !told.kiosk) meant(given).then(begin, problem);
