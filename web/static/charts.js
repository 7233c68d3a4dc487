// Charts: SVG for the few, a canvas for the many.

import { el, number, t, tn } from "./page.js";

const SVG = "http://www.w3.org/2000/svg", W = 520, H = 280, L = 52, B = 36, T = 12, R = 14;

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
const chart = (label, ...children) => svg("svg", { class: "chart", viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label }, ...children);
const across = (low, high) => (v) => L + ((v - low) / (high - low)) * (W - L - R);
const upward = (low, high) => (v) => H - B - ((v - low) / (high - low)) * (H - B - T);
const words = (x, y, text, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, text);

function axis(x, ticks, title) {
  return [svg("line", { class: "axis", x1: L, x2: W - R, y1: H - B, y2: H - B }),
    ...ticks.map((v) => words(x(v), H - B + 17, v.toFixed(1))), words((L + W - R) / 2, H - 2, title)];
}

/** A chart that the server drew, as an element. */
export const drawn = (text) => document.adoptNode(new DOMParser().parseFromString(text, "text/html").querySelector("svg"));

/** How similar decisions were, stacked by answer, with the thresholds. */
export function histogram({ edges, yes, no, unsure, thresholds, fmr }) {
  const totals = yes.map((n, i) => n + no[i] + unsure[i]), all = totals.reduce((a, b) => a + b, 0);
  if (!all) return el("p", { className: "soft" }, t("scores.none"));
  const first = Math.max(0, totals.findIndex((n) => n > 0) - 2), low = Math.min(edges[first], 0);
  const x = across(low, 1), most = Math.max(...totals), y = upward(0, most), bars = [];
  for (let i = 0; i < totals.length; i++) {
    let base = 0;
    for (const [name, counts] of [["no", no], ["unsure", unsure], ["yes", yes]]) {
      if (!counts[i]) continue;
      bars.push(svg("rect", { class: name, x: x(edges[i]) + 0.5, y: y(base + counts[i]), width: Math.max(1, x(edges[i + 1]) - x(edges[i]) - 1), height: y(base) - y(base + counts[i]) }));
      base += counts[i];
    }
  }
  const at = thresholds[fmr.indexOf(0.001)] ?? thresholds[0];
  const cut = at === undefined ? [] : [svg("line", { class: "cut", x1: x(at), x2: x(at), y1: T, y2: H - B }), words(x(at) + 5, T + 10, t("scores.cut"), "start")];
  const keys = el("p", { className: "keys" }, ...["yes", "unsure", "no"].map((name) => el("span", {}, el("i", { className: name }), t(`answer.${name}`))));
  const shown = chart(tn("scores.label", all),
    svg("line", { class: "grid", x1: L, x2: W - R, y1: y(most), y2: y(most) }), words(L - 8, y(most) + 4, number(most), "end"), words(L - 8, H - B + 4, "0", "end"),
    ...bars, ...cut, ...axis(x, [low, 0.2, 0.4, 0.6, 0.8, 1].filter((v, i, list) => i === 0 || v > list[0]), t("fact.similarity")));
  return el("div", {}, shown, keys);
}

/** The calibration: false-match rate (logarithmic) over the threshold. */
export function curve({ thresholds, fmr }) {
  if (!fmr.length) return el("p", { className: "soft" }, t("curve.none"));
  const logs = fmr.map(Math.log10), low = Math.floor(Math.min(...logs)), high = 0;
  const x = across(0, Math.max(0.8, ...thresholds)), y = upward(low, high), lines = [];
  for (let power = low; power <= high; power++) {
    lines.push(svg("line", { class: "grid", x1: L, x2: W - R, y1: y(power), y2: y(power) }), words(L - 8, y(power) + 4, power === 0 ? "1" : `1:${number(10 ** -power)}`, "end"));
  }
  const points = thresholds.map((v, i) => `${x(v)},${y(logs[i])}`);
  const said = fmr.map((rate, i) => t("curve.point", { cut: thresholds[i].toFixed(3), n: number(Math.round(1 / rate)) })).join("; ");
  return chart(t("curve.label", { points: said }), ...lines, svg("polyline", { class: "curve", points: points.join(" ") }),
    ...thresholds.map((v, i) => svg("circle", { class: "dot", cx: x(v), cy: y(logs[i]), r: 4 })), ...axis(x, [0, 0.2, 0.4, 0.6, 0.8], t("fact.threshold")));
}

/** Templates in the plane, coloured by person; the nearest face is shown beside the pointer. */
export function scatter(root, { points }) {
  if (!points.length) return root.replaceChildren(el("p", { className: "soft" }, t("map.none")));
  const canvas = el("canvas", { tabindex: "0", role: "img", "aria-label": t("map.label", { n: number(points.length) }) });
  const tip = el("div", { className: "tip", role: "status", hidden: true });
  root.replaceChildren(canvas, tip);
  const order = [...new Set(points.map((one) => one.person))], hue = new Map(order.map((uid, i) => [uid, (i * 137.508) % 360]));
  const spread = points.map((one, i) => ({ ...one, i })).sort((a, b) => (a.name ?? "").localeCompare(b.name ?? "") || a.i - b.i);
  let at = null, place = null;
  const draw = () => {
    const width = root.clientWidth - 2 * 20, height = Math.min(560, Math.max(300, width * 0.55)), scale = devicePixelRatio;
    canvas.width = width * scale; canvas.height = height * scale;
    const pen = canvas.getContext("2d"), dark = getComputedStyle(root).colorScheme.includes("dark") && matchMedia("(prefers-color-scheme: dark)").matches || document.documentElement.dataset.theme === "dark";
    const light = dark && document.documentElement.dataset.theme !== "light" ? 68 : 40;
    pen.scale(scale, scale);
    place = (one) => [width / 2 + one.x * (width / 2 - 16), height / 2 - one.y * (height / 2 - 16)];
    for (const one of points) {
      pen.fillStyle = `hsl(${hue.get(one.person)} 52% ${light}%)`;
      pen.beginPath();
      pen.arc(...place(one), points.length > 600 ? 3 : 5, 0, 7);
      pen.fill();
    }
    if (at) { pen.strokeStyle = dark ? "#fff" : "#000"; pen.lineWidth = 2; pen.beginPath(); pen.arc(...place(at), 9, 0, 7); pen.stroke(); }
  };
  const show = (one) => {
    if (one === at) return;
    at = one;
    tip.hidden = !one;
    draw();
    if (!one) return;
    const [x, y] = place(one);
    tip.replaceChildren(el("img", { className: "face", src: one.crop, alt: "", width: 84, height: 84 }), one.name ?? t("map.nobody"));
    tip.style.left = `${Math.max(70, Math.min(canvas.clientWidth - 40, x + canvas.offsetLeft))}px`;
    tip.style.top = `${y + canvas.offsetTop}px`;
    if (y < 140) { tip.style.top = `${y + canvas.offsetTop + 150}px`; }
  };
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = [event.offsetX, event.offsetY];
    let best = null, least = 24 ** 2;
    for (const one of points) {
      const [px, py] = place(one), far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least) [best, least] = [one, far];
    }
    show(best);
  });
  canvas.addEventListener("pointerleave", () => show(null));
  canvas.addEventListener("blur", () => show(null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const now = at ? spread.findIndex((one) => one.i === points.indexOf(points.find((p) => p.template === at.template))) : -1;
    const next = spread[(now + step + spread.length) % spread.length];
    show(points[next.i]);
  });
  new ResizeObserver(draw).observe(root);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
}
