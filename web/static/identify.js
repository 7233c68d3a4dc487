import { $, announce, ask, badge, complain, el, face, meter, oneIn, similarity, t, tn } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";
let url = null;

async function look(file) {
  if (!file) return;
  const form = new FormData();
  form.append("image", file, file.name || "picture");
  announce(t("identify.looking"));
  $("drop").classList.add("compact");
  try {
    show(file, await ask("POST", "/v1/identify", form));
  } catch (error) { complain(error); }
}

function show(file, found) {
  if (url) URL.revokeObjectURL(url);
  url = URL.createObjectURL(file);
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
  drawn.setAttribute("aria-hidden", "true");
  found.faces.forEach((one, i) => drawn.append(boxed(one, i, found.width)));
  $("picture").replaceChildren(el("img", { src: url, alt: t("identify.picture"), width: found.width, height: found.height }), drawn);
  const first = found.faces[0];
  $("verdict").textContent = first ? tn("identify.faces", found.faces.length) : t("identify.no_face");
  $("rates").textContent = first ? t("identify.rate", { rate: oneIn(first.fpir), n: first.gallery_size.toLocaleString("en") }) : found.detail;
  $("faces").replaceChildren(...found.faces.map(listed));
  $("found").hidden = false;
  $("verdict").focus();
}

function boxed(one, i, width) {
  const [x, y, w, h] = one.box, size = width / 28;
  const group = document.createElementNS(SVG, "g"), box = document.createElementNS(SVG, "rect"), label = document.createElementNS(SVG, "text");
  group.setAttribute("class", one.answer);
  for (const [name, value] of Object.entries({ x, y, width: w, height: h, rx: w / 12 })) box.setAttribute(name, value);
  for (const [name, value] of Object.entries({ x: x + w / 12, y: y + h - size / 2, "font-size": size, "stroke-width": size / 5 })) label.setAttribute(name, value);
  label.textContent = one.person && one.answer === "yes" ? `${i + 1} ${one.person}` : `${i + 1}`;
  group.append(box, label);
  return group;
}

function listed(one, i) {
  const words = one.answer === "yes" ? one.person : t(`identify.answer.${one.answer}`);
  return el("li", {},
    el("div", { className: "row" }, el("h3", {}, `${i + 1}. ${words}`), badge(one.answer, t(`identify.badge.${one.answer}`))),
    one.candidates.length ? el("ol", { className: "candidates" }, ...one.candidates.map((who) => candidate(who, one)))
      : el("p", { className: "soft" }, t("identify.no_candidate")),
  );
}

function candidate(who, one) {
  const facts = [t("fact.similarity.value", { value: similarity(who.similarity), cut: similarity(one.threshold) })];
  if (typeof who.fmr === "number") facts.push(oneIn(who.fmr));
  if (typeof who.probability === "number") facts.push(t("identify.probability", { value: who.probability.toFixed(4) }));
  return el("li", {}, face(who.thumbnail, who.person, 56),
    el("div", {}, el("a", { href: `/people/${who.uid}` }, who.person), meter(who.similarity, one.threshold, who.answer), el("small", {}, facts.join(" · "))));
}

$("file").addEventListener("change", (event) => look(event.target.files[0]));
addEventListener("paste", (event) => look([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
for (const name of ["dragover", "dragleave", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") look(event.dataTransfer.files[0]);
  });
}
