"use strict";
// The picture of `vultus plot`: points on a canvas. No library, no network, no eval; every text of
// the data goes into the page by textContent alone.
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("plot");
const tip = document.getElementById("tip");
const pen = canvas.getContext("2d");
const solid = data.dims === 3;
const NEAR = 14;
let view, shown = -1, only = new Set(), drag = null, screen = [];

const middle = [0, 1, 2].map((axis) => {
  const values = data.points.map((point) => point[axis] ?? 0);
  return (Math.min(...bounds(values)) + Math.max(...bounds(values))) / 2;
});
function bounds(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  return [low, high];
}
let radius = 1e-9;
const points = data.points.map((point) => {
  const moved = [0, 1, 2].map((axis) => (point[axis] ?? 0) - middle[axis]);
  radius = Math.max(radius, solid ? Math.hypot(...moved) : Math.max(Math.abs(moved[0]), Math.abs(moved[1])));
  return moved;
});

function reset() { view = { zoom: 1, x: 0, y: 0, turn: 0.6, tilt: 0.4 }; draw(); }

// Where a point lies on the canvas in CSS pixels, and how near it is to the eye.
function place([x, y, z], size) {
  let depth = 0;
  if (solid) {
    const [c, s] = [Math.cos(view.turn), Math.sin(view.turn)];
    [x, z] = [c * x + s * z, c * z - s * x];
    const [d, t] = [Math.cos(view.tilt), Math.sin(view.tilt)];
    [y, depth] = [d * y - t * z, d * z + t * y];
  }
  const scale = (0.46 * Math.min(...size) * view.zoom) / radius;
  const near = solid ? 1 / (1 - 0.25 * depth / radius) : 1;
  return [size[0] / 2 + view.x + x * scale * near, size[1] / 2 + view.y - y * scale * near, depth];
}

function size() { return [canvas.clientWidth, canvas.clientHeight]; }

function mark(kind, x, y, r) {
  pen.beginPath();
  if (kind === "disc") pen.arc(x, y, r, 0, 7);
  else if (kind === "square") pen.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  else if (kind === "triangle") { pen.moveTo(x, y - r * 1.2); pen.lineTo(x + r * 1.1, y + r * 0.8); pen.lineTo(x - r * 1.1, y + r * 0.8); pen.closePath(); }
  else for (const [a, b] of [[r, 1], [r, -1]]) { pen.moveTo(x - a, y - a * b); pen.lineTo(x + a, y + a * b); }
}

function draw() {
  const [width, height] = size(), ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  screen = points.map((point) => place(point, [width, height]));
  const order = screen.map((_, i) => i);
  if (solid) order.sort((a, b) => screen[a][2] - screen[b][2]);
  const r = Math.min(6, Math.max(2.5, 90 / Math.sqrt(points.length)));
  for (const i of order) {
    const label = data.labels[data.label[i]], [x, y, depth] = screen[i];
    const faint = only.size && !only.has(data.label[i]);
    pen.globalAlpha = faint ? 0.08 : solid ? 0.55 + 0.4 * (0.5 + depth / radius / 2) : 0.85;
    pen.fillStyle = pen.strokeStyle = label.colour;
    pen.lineWidth = r * 0.7;
    mark(label.mark, x, y, r);
    if (label.mark === "cross") pen.stroke(); else pen.fill();
  }
  pen.globalAlpha = 1;
  if (shown >= 0) {
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(screen[shown][0], screen[shown][1], r + 5, 0, 7);
    pen.stroke();
    move();
  }
}

function nearest(x, y) {
  let best = -1, least = NEAR;
  screen.forEach(([a, b, depth], i) => {
    if (only.size && !only.has(data.label[i])) return;
    const far = Math.hypot(a - x, b - y) - (solid ? depth / radius : 0);
    if (far < least) { least = far; best = i; }
  });
  return best;
}

function show(i) {
  shown = i;
  tip.hidden = i < 0;
  if (i >= 0) {
    const picture = tip.querySelector("img"), thumb = data.thumbs[i];
    picture.hidden = thumb === null;
    if (thumb === null) picture.removeAttribute("src");
    else picture.src = "data:image/jpeg;base64," + thumb;
    tip.querySelector("b").textContent = data.labels[data.label[i]].name || "(no label)";
    tip.querySelector("span").textContent = data.files[i];
  }
  draw();
}

function move() {
  const [width, height] = size(), [x, y] = screen[shown];
  tip.style.left = Math.max(4, Math.min(x + 14, width - tip.offsetWidth - 4)) + "px";
  tip.style.top = Math.max(4, Math.min(y + 14, height - tip.offsetHeight - 4)) + "px";
}

canvas.addEventListener("pointerdown", (event) => {
  drag = [event.offsetX, event.offsetY];
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  const at = [event.offsetX, event.offsetY];
  if (drag === null) {
    const found = nearest(...at);
    if (found !== shown) show(found);
    return;
  }
  push(at[0] - drag[0], at[1] - drag[1], event.shiftKey);
  drag = at;
});
for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => { drag = null; });
canvas.addEventListener("pointerleave", () => { if (drag === null) show(-1); });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY / 500), event.offsetX, event.offsetY);
}, { passive: false });
canvas.addEventListener("dblclick", reset);

// A drag turns a solid picture and moves a flat one; with Shift it moves either.
function push(x, y, shift) {
  if (solid && !shift) {
    view.turn += x / 150;
    view.tilt = Math.max(-1.57, Math.min(1.57, view.tilt + y / 150));
  } else { view.x += x; view.y += y; }
  draw();
}

function zoom(factor, x, y) {
  const [width, height] = size(), before = view.zoom;
  view.zoom = Math.max(0.2, Math.min(200, before * factor));
  const grown = view.zoom / before;
  view.x = (view.x + width / 2 - x) * grown + x - width / 2;
  view.y = (view.y + height / 2 - y) * grown + y - height / 2;
  draw();
}

const KEYS = {
  ArrowLeft: () => push(-20, 0), ArrowRight: () => push(20, 0),
  ArrowUp: () => push(0, -20), ArrowDown: () => push(0, 20),
  "+": () => zoom(1.25, ...size().map((v) => v / 2)), "-": () => zoom(0.8, ...size().map((v) => v / 2)),
  Home: reset, Escape: () => show(-1),
  n: () => show((shown + 1) % points.length), p: () => show((shown + points.length - 1 + (shown < 0)) % points.length),
};
canvas.addEventListener("keydown", (event) => {
  const does = KEYS[event.key];
  if (does && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); does(); }
});

for (const button of document.querySelectorAll("#legend button")) {
  button.addEventListener("click", () => {
    const number = Number(button.dataset.label), on = !only.has(number);
    if (on) only.add(number); else only.delete(number);
    button.setAttribute("aria-pressed", String(on));
    show(-1);
  });
}
const search = document.getElementById("search");
if (search) search.addEventListener("input", () => {
  const words = search.value.trim().toLowerCase();
  only = new Set();
  if (words) data.labels.forEach((label, i) => { if (label.name.toLowerCase().includes(words)) only.add(i); });
  document.getElementById("found").textContent = words ? `${only.size} labels` : "";
  if (words && !only.size) only.add(-1);
  show(-1);
});

new ResizeObserver(() => draw()).observe(canvas);
reset();
