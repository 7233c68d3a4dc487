import { $, ask, badge, complain, day, el, moment, number, percent, reason, similarity, t, tn } from "./page.js";
import { curve, drawn, histogram, scatter } from "./charts.js";

ask("GET", "/v1/insight/gallery").then((state) => {
  const shown = [["people", state.people], ["templates", state.templates], ["photos", state.photos], ["decisions", state.decisions],
    ["one", state.one_template], ["without", state.without_templates], ["unnamed", state.unnamed], ["expired", state.expired]];
  $("figures").replaceChildren(...shown.map(([key, n]) => el("div", {}, el("dt", {}, t(`gallery.${key}`)), el("dd", {}, number(n)))));
  $("figures").removeAttribute("aria-busy");
}, complain);

// The evaluation report: the rates behind the calibration in force

const ends = ({ low, high }) => (low === null || high === null ? "" : t("report.ends", { low: percent(low), high: percent(high) }));
const share = (rate) => (rate.value === null ? t("report.unsupported") : rate.value === 0 ? t("report.none_seen") : percent(rate.value));
/** A command that breaks between its words only. */
const command = (text) => el("p", {}, el("code", {}, ...text.split(" ").flatMap((word, i) => [i ? " " : "", el("span", { className: "whole" }, word)])));
const counted = (rate) => cell(el("span", {}, share(rate), el("small", {}, rate.value === null ? "" : t("report.counted", { ends: ends(rate), errors: number(rate.errors), trials: number(rate.trials) }))));

ask("GET", "/v1/insight/evaluation").then((found) => {
  $("report-summary").textContent = found.summary;
  $("report-data").textContent = t("report.data", { source: found.source, people: number(found.people), photos: number(found.photos), day: day(found.created) });
  const known = found.points.filter((one) => one.fnmr.value !== null);
  const near = known.reduce((best, one) => (Math.abs(Math.log(one.asked_fmr / 0.001)) < Math.abs(Math.log((best?.asked_fmr ?? 9) / 0.001)) ? one : best), null);
  const shown = [
    ...(near ? [[t("report.fnmr", { rate: percent(near.asked_fmr) }), share(near.fnmr), ends(near.fnmr)]] : []),
    [t("report.eer"), found.eer === null ? t("report.unsupported") : percent(found.eer), ""],
    [t("gallery.people"), number(found.people), t("report.pairs", { n: number(found.person_pairs) })],
    [t("report.smallest"), percent(found.smallest_fmr), t("report.smallest.why")],
  ];
  $("report-figures").replaceChildren(...shown.map(([label, value, note]) => el("div", {}, el("dt", {}, label), el("dd", {}, value, el("small", {}, note)))));
  $("report-charts").replaceChildren(...found.charts.map((one) => el("figure", { className: "card" }, el("h3", {}, one.title), drawn(one.svg), el("figcaption", {}, one.reading))));
  $("report-points").replaceChildren(...found.points.map((one) => el("tr", {},
    cell(percent(one.asked_fmr)), cell(similarity(one.threshold)), counted(one.fmr), counted(one.fnmr))));
  $("report-rates").hidden = !found.points.length;
  $("report-own").hidden = false;
  $("report-own").replaceChildren(...(found.report
    ? [el("p", {}, el("a", { href: found.report }, t("report.own")))]
    : [el("p", {}, t("report.lead")), command("vultus evaluate verification people/ --all-pairs --report report.html"), command("vultus serve --report report.html")]));
}, (error) => { $("report-summary").textContent = reason(error.code, error.message); });

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
