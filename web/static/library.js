// The library: a wall of faces by cluster, and whose they are.

import { $, announce, ask, complain, el, moment, number, opened, similarity, t, tn, toast, told } from "./page.js";
import { Wall } from "./wall.js";

const wall = new Wall($("wall"), { fill, tools, choose, drop });
const MOST = 200; // items of a page of /v1

// Clusters, then the faces of those in sight

const grouped = (clusters) => clusters.map((one) => ({ ...one, faces: null, opened: false }));

let loads = 0;
async function load() {
  const mine = ++loads, found = [];
  const open = new Set(wall.groups.filter((group) => group.opened).map((group) => group.number));
  let cursor = null, limit = 24; // few at first: a picture as soon as can be
  try {
    do {
      const page = await ask("GET", `/v1/clusters?limit=${limit}${cursor ? `&cursor=${cursor}` : ""}`);
      if (mine !== loads) return;
      found.push(...page.items);
      cursor = page.next;
      if (limit !== MOST || !cursor) show(found, open);
      limit = MOST;
    } while (cursor);
  } catch (error) { complain(error); }
  const faces = found.reduce((sum, one) => sum + one.size, 0);
  $("summary").textContent = found.length ? t("library.summary", { faces: number(faces), clusters: number(wall.groups.length) }) : "";
  $("none").hidden = found.length > 0;
  $("names").replaceChildren(...[...new Set(found.map((one) => one.name).filter(Boolean))].map((name) => el("option", { value: name })));
  history();
  suggest();
}

function show(found, open) {
  const groups = grouped(found), before = new Map(wall.groups.map((group) => [group.number, group]));
  for (const group of groups) {
    const old = before.get(group.number);
    group.opened = open.has(group.number);
    // what was read of a cluster stays until it is read again, so that nothing flickers
    if (old?.faces && !stale) Object.assign(group, { faces: old.faces, whole: old.whole, cursor: old.cursor });
    else if (old?.faces && old.size === group.size) Object.assign(group, { faces: old.faces, old: true });
  }
  wall.set(groups);
}

let stale = false; // faces went from one to another
async function reload() {
  stale = true;
  try { await load(); } finally { stale = false; }
}

/** Read more faces of a group. */
async function fill(group, most) {
  const faces = group.old ? [] : [...(group.faces ?? [])];
  while (faces.length < most && !group.whole) {
    const limit = group.opened ? MOST : Math.min(MOST, most);
    const page = await ask("GET", `/v1/clusters/${group.number}/faces?limit=${limit}${group.cursor ? `&cursor=${group.cursor}` : ""}`);
    faces.push(...page.items);
    group.cursor = page.next;
    group.whole = !page.next;
  }
  Object.assign(group, { faces, old: false });
  if (group.whole) group.size = group.faces.length;
}

// Corrections

function tools(group) {
  const button = (key, work, className = "small") => el("button", { type: "button", className, "data-tool": key, onclick: work }, t(`library.${key}`));
  return group.person
    ? [el("a", { className: "button", href: `/people/${group.person}` }, t("library.person"))].map((a) => { a.classList.add("small", "wide"); return a; })
    : [button("name", () => name(group))];
}

/** Ask the server, show what became of it, and say so. */
async function correct(work, said) {
  try {
    const done = await work();
    wall.chosen.clear();
    tray();
    await reload();
    toast(typeof said === "function" ? said(done) : said);
    return done;
  } catch (error) { complain(error); return null; }
}

async function askName() {
  $("cluster-name").value = "";
  return (await opened($("naming"))) === "ok" ? $("cluster-name").value.trim() : "";
}

async function name(group) {
  const given = await askName();
  if (given) await give(group, given);
}
const give = (group, given) => correct(
  () => ask("POST", `/v1/clusters/${group.number}/name`, { name: given }), (done) => tn("library.named", done.faces, { name: done.person }),
);

const called = (group) => group.name ?? t("library.cluster", { n: group.number });

/** Faces, or a whole group, were dragged onto another group. */
function drop(faces, from, to) {
  return faces
    ? correct(() => ask("POST", "/v1/faces/move", { templates: faces.map((one) => one.template), to: to.number }), tn("library.moved", faces.length, { name: called(to) }))
    : correct(() => ask("POST", "/v1/clusters/merge", { numbers: [from.number, to.number] }), t("library.merged", { one: called(from), other: called(to) }));
}

let chosenOf = null; // the group that the chosen faces are of
function choose(face, group, button) {
  if (chosenOf !== group) {
    for (const one of wall.root.querySelectorAll('[aria-pressed="true"]')) one.setAttribute("aria-pressed", "false");
    wall.chosen.clear();
  }
  chosenOf = group;
  if (!wall.chosen.delete(face.template)) wall.chosen.add(face.template);
  button.setAttribute("aria-pressed", String(wall.chosen.has(face.template)));
  tray();
}

function tray() {
  const n = wall.chosen.size;
  if ($("tray").hidden === n > 0) announce(n ? t("library.tray.open") : "");
  $("tray").hidden = n === 0;
  if (!n) return;
  document.querySelector(".toast")?.remove(); // it would lie over the tray
  $("chosen").textContent = tn("library.chosen", n);
  $("not-them").hidden = n >= chosenOf.size;
  $("not-them").textContent = t("library.not.who", { name: called(chosenOf) });
}

$("clear").addEventListener("click", clear);
function clear() {
  for (const one of wall.root.querySelectorAll('[aria-pressed="true"]')) one.setAttribute("aria-pressed", "false");
  wall.chosen.clear();
  tray();
}
$("as-new").addEventListener("click", async () => {
  const templates = [...wall.chosen], from = chosenOf, given = await askName();
  if (!given) return;
  await correct(async () => {
    const whole = templates.length >= from.size;
    const number = whole ? from.number : (await ask("POST", `/v1/clusters/${from.number}/split`, { templates })).cluster;
    return ask("POST", `/v1/clusters/${number}/name`, { name: given });
  }, (done) => tn("library.named", done.faces, { name: done.person }));
});
$("not-them").addEventListener("click", () => {
  const templates = [...wall.chosen], from = chosenOf;
  correct(() => ask("POST", `/v1/clusters/${from.number}/split`, { templates }), tn("library.denied", templates.length, { name: called(from) }));
});

// Suggestions: one key each

let hint = null;
async function suggest() {
  try {
    const { items } = await ask("GET", "/v1/suggestions");
    hint = items[0] ?? null;
    $("asking").hidden = !hint;
    if (!hint) return;
    const split = hint.kind === "split", part = (one) => (split ? t("suggest.part", { name: called(named(one)), n: number(one.size) }) : called(named(one)));
    const side = (one) => el("div", {}, el("small", {}, part(one)), el("div", { className: "pair" }, ...one.faces.map((url) => el("img", { className: "face", src: url, width: 72, height: 72, alt: "" }))));
    const button = (key, answer) => el("button", { type: "button", className: answer === "skip" ? "quiet small" : "small", "data-answer": answer, onclick: () => reply(answer) }, t(`suggest.${answer}`), " ", el("kbd", { "aria-hidden": "true" }, key));
    $("suggestion").replaceChildren(
      side(hint.sides[0]), side(hint.sides[1]),
      el("p", {}, t(`suggest.${hint.kind}`, { one: called(named(hint.sides[0])), other: called(named(hint.sides[1])) })),
      el("p", { className: "soft" }, t("suggest.evidence", { share: `${Math.min(99, Math.round(hint.probability * 100))}\u00a0%`, value: similarity(hint.similarity), n: number(items.length) })),
      el("div", { className: "row" }, button("Y", "same"), button("N", "different"), button("S", "skip")));
  } catch (error) { complain(error); }
}
const named = (side) => ({ name: side.name, number: side.cluster });
const reply = (answer) => correct(() => ask("POST", `/v1/suggestions/${hint.id}`, { answer }), t(`suggest.done.${answer}`));

// What was done, and undoing it

/** What an operation did, in words; a kind that this page does not know, by its name. */
const what = ({ kind, people }) => {
  if (!told.text[`done.${kind}`]) return kind;
  return people.length ? t(`done.${kind}`, { people: people.join(", ") }) : t(`done.${kind}.nobody`);
};

async function history() {
  try {
    const { items } = await ask("GET", "/v1/operations?limit=8");
    $("operations").replaceChildren(...items.map((one) => el("li", {},
      el("span", {}, what(one), el("br"), el("small", {}, one.undone ? t("done.undone") : moment(one.time))),
      one.undone || !one.undoable ? null : el("button", {
        type: "button", className: "small quiet", "aria-label": t("library.undo.which", { what: what(one) }),
        onclick: () => undo(one.number),
      }, t("library.undo")))));
    if (!items.length) $("operations").replaceChildren(el("li", { className: "soft" }, t("library.done.none")));
    $("undo").disabled = !items.some((one) => !one.undone && one.undoable);
  } catch (error) { complain(error); }
}
const undo = (operation = null) => correct(() => ask("POST", "/v1/undo", { operation }), (done) => t("library.undone", { what: what(done) }));
$("undo").addEventListener("click", () => undo());
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, dialog")) return;
  const answer = { y: "same", n: "different", s: "skip" }[event.key];
  if (event.key === "u" && !$("undo").disabled) undo();
  else if (answer && hint) reply(answer);
  else if (event.key === "Escape") clear();
});

// A new library

$("upload").addEventListener("click", () => { $("job").replaceChildren(); opened($("uploading")).then(() => load()); });
$("send").addEventListener("click", async () => {
  const file = $("zip").files[0];
  if (!file) return toast(t("library.zip.none"));
  $("send").disabled = true;
  const bar = el("progress", { "aria-label": t("library.upload.progress") }), words = el("p", {}, t("library.upload.sending"));
  $("job").replaceChildren(words, bar);
  try {
    let job = await ask("POST", "/v1/jobs?kind=cluster", file, { headers: { "Content-Type": "application/zip" } });
    while (job.state === "waiting" || job.state === "running") {
      await new Promise((done) => setTimeout(done, 600));
      job = await ask("GET", `/v1/jobs/${job.uid}`);
      if (job.total) { bar.max = job.total; bar.value = job.done; }
      words.textContent = t("library.upload.working", { done: number(job.done), total: number(job.total ?? 0) });
    }
    bar.remove();
    words.textContent = job.state === "done" ? t("library.upload.done", { faces: number(job.result.faces), clusters: number(job.result.clusters) }) : job.error?.message ?? t("error.unknown");
  } catch (error) { words.textContent = error.message; bar.remove(); } finally { $("send").disabled = false; }
});

load();
