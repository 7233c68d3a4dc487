import { $, announce, ask, complain, el, face, later, may, opened, tn } from "./page.js";
import { Pictures } from "./pictures.js";

let next = null, asked = 0;
async function load(fresh) {
  const mine = ++asked;
  const query = new URLSearchParams({ q: $("q").value.trim(), limit: "48" });
  if (!fresh && next) query.set("cursor", next);
  try {
    const page = await ask("GET", `/v1/people?${query}`);
    if (mine !== asked) return;
    const cards = page.items.map((person) => el("li", {}, el(
      "a", { href: `/people/${person.uid}` }, face(person.thumbnail, person.name), el("b", {}, person.name),
      el("small", {}, tn("people.pictures", person.templates) + (person.site ? ` · ${person.site}` : "")),
    )));
    if (fresh) $("people").replaceChildren(...cards);
    else { $("people").append(...cards); cards[0]?.querySelector("a").focus(); }
    next = page.next;
    $("more").hidden = !next;
    $("none").hidden = $("people").children.length > 0;
    if (!fresh || $("q").value) announce(tn("people.shown", $("people").children.length));
  } catch (error) { complain(error); }
}
$("q").addEventListener("input", later(() => load(true)));
$("more").addEventListener("click", () => load(false));
load(true);

if (may("enrol")) {
  const pictures = new Pictures(), form = $("new");
  $("add").addEventListener("click", async () => {
    form.reset();
    pictures.clear();
    await opened($("adding"));
    pictures.close();
    load(true);
  });
  let added = null; // who was just added: more pictures go to them
  $("adding").addEventListener("close", () => { added = null; });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    $("save").disabled = true;
    const sent = new FormData();
    const fields = added ? [] : ["name", "site", "expires", "consent_basis", "consent_date", "consent_reference"];
    for (const name of fields) if ($(name).value.trim()) sent.append(name, $(name).value.trim());
    try {
      const done = await ask("POST", added ? `/v1/people/${added}/templates` : "/v1/people", pictures.fill(sent));
      added = done.person.uid;
      pictures.told(done.outcomes);
      announce(tn("people.added", done.person.templates, { name: done.person.name }));
      if (!pictures.picked.length) $("save").disabled = true;
    } catch (error) {
      if (error.details?.outcomes) pictures.told(error.details.outcomes);
      complain(error);
    } finally { $("save").disabled = false; }
  });
}
