import { $, ask, badge, complain, el, moment, number, similarity, t, tn } from "./page.js";
import { curve, histogram, scatter } from "./charts.js";

ask("GET", "/v1/insight/gallery").then((state) => {
  const shown = [["people", state.people], ["templates", state.templates], ["photos", state.photos], ["decisions", state.decisions],
    ["one", state.one_template], ["without", state.without_templates], ["unnamed", state.unnamed], ["expired", state.expired]];
  $("figures").replaceChildren(...shown.map(([key, n]) => el("div", {}, el("dt", {}, t(`gallery.${key}`)), el("dd", {}, number(n)))));
  $("figures").removeAttribute("aria-busy");
}, complain);

ask("GET", "/v1/insight/scores").then((found) => {
  $("scores").replaceChildren(histogram(found));
  $("curve").replaceChildren(curve(found));
}, complain);

ask("GET", "/v1/insight/map").then((found) => {
  scatter($("map"), found);
  $("map-reading").textContent = t("map.reading.of", { n: number(found.points.length), all: number(found.total), share: `${Math.round(found.explained * 100)} %` });
}, complain);

/** A table that grows by pages. */
function paged(path, body, button, row) {
  let next = null;
  const load = async () => {
    try {
      const page = await ask("GET", `${path}?limit=20${next ? `&cursor=${next}` : ""}`);
      $(body).append(...page.items.map(row));
      next = page.next;
      $(button).hidden = !next;
      if (!$(body).children.length) $(body).append(el("tr", {}, el("td", { colspan: "6", className: "soft" }, t("list.empty"))));
    } catch (error) { complain(error); }
  };
  $(button).addEventListener("click", load);
  load();
}

const cell = (value, name = "") => el("td", { className: name }, value ?? "–");
paged("/v1/decisions", "decisions", "more-decisions", (one) => el("tr", {},
  cell(moment(one.time), "nowrap"), cell(t(`kind.${one.kind}`)), cell(badge(one.answer)),
  cell(one.similarity === null ? null : similarity(one.similarity)), cell(one.threshold === null ? null : similarity(one.threshold)), cell(one.actor)));
paged("/v1/audit", "events", "more-events", (one) => el("tr", {},
  cell(moment(one.time), "nowrap"), cell(one.action.replaceAll("_", " ")), cell(one.actor), cell(el("code", {}, one.hash.slice(0, 16)))));

$("check").addEventListener("click", async () => {
  $("check").disabled = true;
  $("log-state").textContent = t("log.checking");
  try {
    const state = await ask("GET", "/v1/audit/verify");
    $("log-state").replaceChildren(badge(state.whole ? "yes" : "no", t(state.whole ? "log.whole" : "log.broken")), " ",
      state.whole ? tn("log.rows", state.length) : t("log.fault", { row: state.row, fault: state.fault }));
  } catch (error) { $("log-state").textContent = ""; complain(error); } finally { $("check").disabled = false; }
});

$("audit").addEventListener("click", async () => {
  $("audit").disabled = true;
  $("findings-state").textContent = t("findings.looking");
  try {
    const found = await ask("GET", "/v1/insight/findings");
    $("findings-state").textContent = found.findings.length ? tn("findings.found", found.findings.length) : t("findings.clean");
    $("findings").replaceChildren(...found.findings.map((one) => el("li", {},
      badge(one.serious ? "no" : "unsure", t(`finding.${one.kind}`)), el("p", {}, one.evidence),
      one.people.length ? el("small", {}, ...one.people.flatMap((name, i) => [i ? ", " : "", el("a", { href: `/people/${one.uids[i]}` }, name)])) : null,
      one.mend ? el("p", {}, el("code", {}, one.mend)) : null)));
  } catch (error) { complain(error); } finally { $("audit").disabled = false; }
});
