import { $, ask, complain, day, el, face, later, may, moment, opened, t, tn, toast, told } from "./page.js";
import { Pictures } from "./pictures.js";

const here = `/v1/people/${encodeURIComponent(told.uid)}`;
let person = null;

async function load() {
  try {
    person = await ask("GET", here);
  } catch (error) {
    $("all").hidden = true;
    $("gone").hidden = false;
    $("gone").replaceChildren(el("h1", {}, t("person.unknown")), el("p", { className: "soft" }, t("person.unknown.why")));
    return;
  }
  document.title = `${person.name} · Vultus`;
  $("name").textContent = person.name;
  $("face").replaceChildren(face(person.thumbnail, person.name));
  const facts = [tn("people.pictures", person.templates), t("person.since", { day: day(person.created) })];
  if (person.site) facts.unshift(t("person.site", { site: person.site }));
  if (person.expires) facts.push(t("person.until", { day: day(person.expires) }));
  $("facts").textContent = facts.join(" · ");
  $("templates").replaceChildren(...person.items.map((one, i) => el(
    "li", {}, el("img", { className: "face", src: one.crop, width: 112, height: 112, alt: t("person.template", { n: i + 1 }), loading: "lazy" }),
    el("small", {}, day(one.created), el("br"), quality(one.quality)),
    may("enrol") ? el("div", {}, el("button", {
      type: "button", className: "small quiet", "aria-label": t("person.remove.which", { n: i + 1 }), onclick: () => remove(one.uid),
    }, t("person.remove"))) : null,
  )));
  $("all").removeAttribute("aria-busy");
}

const quality = (found) => (found?.size ? t("person.size", { n: Math.round(found.size) }) : "");

async function remove(uid) {
  try {
    await ask("DELETE", `/v1/templates/${uid}`);
    toast(t("person.removed"));
    await load();
    $("templates-title").scrollIntoView({ block: "nearest" });
  } catch (error) { complain(error); }
}

if (may("enrol")) {
  const pictures = new Pictures();
  $("new").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!pictures.picked.length) return toast(t("pictures.none"));
    $("save").disabled = true;
    try {
      pictures.told((await ask("POST", `${here}/templates`, pictures.fill(new FormData()))).outcomes);
      await load();
    } catch (error) { complain(error); } finally { $("save").disabled = false; }
  });

  $("rename").addEventListener("click", async () => {
    $("new-name").value = person.name;
    if (await opened($("renaming")) !== "ok") return;
    try { await ask("PATCH", here, { name: $("new-name").value.trim() }); await load(); toast(t("person.renamed")); } catch (error) { complain(error); }
  });

  let into = null;
  const choose = later(async () => {
    const q = $("into").value.trim();
    if (!q) return;
    const page = await ask("GET", `/v1/people?limit=6&q=${encodeURIComponent(q)}`).catch(() => ({ items: [] }));
    $("into-choices").replaceChildren(...page.items.filter((one) => one.uid !== told.uid).map((one) => el("button", {
      type: "button", className: "small", "aria-pressed": "false",
      onclick: (event) => {
        into = one.uid;
        $("into").value = one.name;
        for (const other of $("into-choices").children) other.setAttribute("aria-pressed", String(other === event.currentTarget));
        $("merge-go").disabled = false;
      },
    }, one.name)));
  });
  $("into").addEventListener("input", () => { into = null; $("merge-go").disabled = true; choose(); });
  $("merge").addEventListener("click", async () => {
    if (await opened($("merging")) !== "ok" || !into) return;
    try { const done = await ask("POST", `${here}/merge`, { into }); location.assign(`/people/${done.uid}`); } catch (error) { complain(error); }
  });
}

if (may("admin")) {
  $("typed").addEventListener("input", () => { $("forget-go").disabled = $("typed").value.trim() !== person.name; });
  $("typed").addEventListener("keydown", (event) => { if (event.key === "Enter" && $("forget-go").disabled) event.preventDefault(); });
  $("forget").addEventListener("click", async () => {
    $("typed").value = "";
    $("forget-go").disabled = true;
    $("typed-label").textContent = t("person.forget.type", { name: person.name });
    if (await opened($("forgetting")) !== "ok") return;
    try { receipt(await ask("DELETE", here)); } catch (error) { complain(error); }
  });
}

/** Show the receipt of an erasure; it can be kept as a file. */
function receipt(done) {
  const text = JSON.stringify(done, null, 2);
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  $("all").hidden = true;
  $("gone").hidden = false;
  const title = el("h1", { tabindex: "-1" }, t("forgot.title"));
  $("gone").replaceChildren(
    title, el("p", { className: "soft" }, t("forgot.lead", { when: moment(new Date().toISOString()) })),
    el("pre", { className: "receipt", tabindex: "0", "aria-label": t("forgot.receipt") }, text),
    el("p", { className: "row" }, el("a", { className: "button first", href: url, download: `receipt-${told.uid.slice(0, 8)}.json` }, t("forgot.download")),
      el("a", { className: "button", href: "/people" }, t("person.back"))),
  );
  document.title = `${t("forgot.title")} · Vultus`;
  title.focus();
}

load();
