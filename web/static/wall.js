// A wall of faces that may be very long: only the lines in sight are in the document.
//
// Groups (clusters) are laid out as lines of fixed height: a head, then faces, `perLine` each. A
// group that is not opened shows its first LINES lines. Offsets are a running sum over the groups,
// found by bisection; a scroll only adds the lines that came into sight and drops those that left.

import { el, t, tn } from "./page.js";

const HEAD = 76, GAP = 6, LINES = 2, BEYOND = 400; // pixels
const IN_WORK = 4; // requests for faces at once
const SETTLED = 90; // ms that a group must be in sight before its faces are asked for

export class Wall {
  /**
   * @param {HTMLElement} root where it is shown.
   * @param {object} work
   * @param {(group: object, most: number) => Promise<void>} work.fill puts `faces` into a group.
   * @param {(group: object) => Node[]} work.tools buttons of a group's head.
   * @param {(face: object, group: object, button: HTMLElement) => void} work.choose on a click.
   * @param {(faces: object[] | null, from: object, to: object) => void} work.drop faces of a group,
   *   or all of it (null), were dragged onto another.
   */
  constructor(root, work) {
    Object.assign(this, { root, work, groups: [], tops: [0], lines: new Map(), chosen: new Set(), busy: 0, dragged: null });
    this.waiting = 0;
    addEventListener("scroll", () => this.soon(), { passive: true });
    new ResizeObserver(() => this.layout()).observe(root);
    root.addEventListener("click", (event) => this.clicked(event));
    root.addEventListener("dragstart", (event) => this.lifted(event));
    for (const name of ["dragover", "dragleave", "drop", "dragend"]) root.addEventListener(name, (event) => this.dragging(event));
    root.addEventListener("keydown", (event) => this.moved(event));
  }

  set(groups) {
    this.groups = groups;
    this.clear();
    this.layout(true);
  }

  clear() {
    for (const line of this.lines.values()) line.remove();
    this.lines.clear();
  }

  /** Show a group anew: its name, its faces or its number of lines changed. */
  refresh() {
    const at = document.activeElement?.closest?.(".line")?.dataset.line;
    const which = document.activeElement?.dataset?.template ?? document.activeElement?.dataset?.tool;
    this.clear();
    this.layout(true);
    if (at && which) this.root.querySelector(`[data-line="${at}"] :is([data-template="${which}"],[data-tool="${which}"])`)?.focus({ preventScroll: true });
  }

  layout(force = false) {
    const width = this.root.clientWidth;
    if (!width || (width === this.width && !force)) return;
    if (width !== this.width) this.clear();
    this.width = width;
    this.side = matchMedia("(max-width: 640px)").matches ? 68 : 84;
    this.perLine = Math.max(2, Math.floor((width + GAP) / (this.side + GAP)));
    this.tops = [0];
    for (const group of this.groups) this.tops.push(this.tops.at(-1) + HEAD + this.count(group) * (this.side + GAP));
    this.root.style.height = `${this.tops.at(-1)}px`;
    this.draw();
  }

  count(group) {
    const all = Math.max(1, Math.ceil(group.size / this.perLine));
    return group.opened ? all : Math.min(LINES, all);
  }

  soon() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.draw(); });
  }

  /** The first group that ends below a place. */
  find(y) {
    let low = 0, high = this.groups.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.tops[middle + 1] > y) high = middle; else low = middle + 1;
    }
    return low;
  }

  draw() {
    const from = -this.root.getBoundingClientRect().top - BEYOND, to = from + innerHeight + 2 * BEYOND;
    const wanted = new Set();
    const seen = [];
    for (let g = this.find(from); g < this.groups.length && this.tops[g] < to; g++) {
      const group = this.groups[g];
      seen.push(group);
      this.place(wanted, g, -1, this.tops[g]);
      const lines = this.count(group), pitch = this.side + GAP, start = this.tops[g] + HEAD;
      const first = Math.max(0, Math.floor((from - start) / pitch));
      for (let i = first; i < lines && start + i * pitch < to; i++) this.place(wanted, g, i, start + i * pitch);
    }
    for (const [key, line] of this.lines) {
      if (wanted.has(key) || line.contains(document.activeElement)) continue;
      line.remove();
      this.lines.delete(key);
    }
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.fetch(seen), this.fetched ? SETTLED : 0);
    this.fetched = true;
  }

  place(wanted, g, i, top) {
    const key = `${g}:${i}`;
    wanted.add(key);
    if (this.lines.has(key)) return;
    const group = this.groups[g], line = i < 0 ? this.head(group) : this.faces(group, i);
    line.dataset.line = key;
    line.dataset.group = g;
    line.style.top = `${top}px`;
    line.style.height = `${i < 0 ? HEAD : this.side}px`;
    this.lines.set(key, line);
    // in reading order, so that tabbing and screen readers follow what is seen
    const after = [...this.root.children].find((other) => Number.parseFloat(other.style.top) > top);
    this.root.insertBefore(line, after ?? null);
  }

  head(group) {
    return el("div", { className: "line head", draggable: "true" },
      el("h2", group.name ? { className: "named" } : {}, group.name ?? t("library.cluster", { n: group.number })),
      el("span", { className: "count" }, tn("library.faces", group.size)),
      el("span", { className: "row" }, ...this.work.tools(group)));
  }

  faces(group, i) {
    const from = i * this.perLine, all = group.faces ?? [], tiles = [];
    const to = Math.min(group.size, from + this.perLine);
    const hidden = !group.opened && i === LINES - 1 ? group.size - to : 0;
    for (let f = from; f < to - (hidden ? 1 : 0); f++) tiles.push(this.tile(group, all[f], f));
    if (hidden) {
      tiles.push(el("button", { type: "button", className: "tile more", "data-tool": "open", "aria-label": t("library.open", { n: group.size }) }, `+${hidden + 1}`));
    }
    return el("div", { className: "line" }, ...tiles);
  }

  tile(group, face, f) {
    if (!face) return el("span", { className: "tile" });
    const label = t("library.face", { n: f + 1, name: group.name ?? t("library.cluster", { n: group.number }) });
    return el("button", {
      type: "button", className: "tile", draggable: "true", "data-template": face.template, "aria-label": label,
      "aria-pressed": String(this.chosen.has(face.template)),
    }, el("img", { src: face.crop, alt: "", width: this.side, height: this.side, decoding: "async" }));
  }

  /** Ask for faces of groups in sight, a few at a time. */
  async fetch(groups) {
    for (const group of groups) {
      const need = group.opened ? group.size : Math.min(group.size, LINES * this.perLine);
      if ((group.faces && !group.old && (group.whole || group.faces.length >= need)) || group.loading || group.failed) continue;
      if (this.busy >= IN_WORK) return;
      this.load(group, need);
    }
  }

  async load(group, need) {
    group.loading = true;
    this.busy++;
    const before = group.size;
    try { await this.work.fill(group, need); } catch { group.failed = true; }
    this.busy--;
    group.loading = false;
    if (group.size !== before) this.refresh();
    else this.redraw(group);
    this.soon();
  }

  /** Draw the lines of one group again, where they are in sight. */
  redraw(group) {
    const g = this.groups.indexOf(group);
    for (const [key, line] of this.lines) {
      if (!key.startsWith(`${g}:`) || key.endsWith(":-1")) continue;
      line.replaceChildren(...this.faces(group, Number(key.split(":")[1])).childNodes);
    }
  }

  group(node) { return this.groups[Number(node.closest(".line")?.dataset.group)]; }
  face(node) { return this.group(node)?.faces?.find((one) => one.template === node.dataset.template); }

  clicked(event) {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.tool === "open") {
      const group = this.group(button);
      group.opened = true;
      this.refresh();
    } else if (button.dataset.template) this.work.choose(this.face(button), this.group(button), button);
  }

  /** Arrows go from face to face. */
  moved(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.perLine, ArrowUp: -this.perLine }[event.key];
    if (!step || !event.target.matches?.(".tile")) return;
    const tiles = [...this.root.querySelectorAll("button.tile")];
    const at = event.target.getBoundingClientRect();
    let next = tiles[tiles.indexOf(event.target) + Math.sign(step)];
    if (Math.abs(step) > 1) {
      const far = (one) => { const r = one.getBoundingClientRect(); return Math.abs(r.left - at.left) + 3 * Math.abs(r.top - at.top); };
      next = tiles.filter((one) => Math.sign(step) * (one.getBoundingClientRect().top - at.top) > 1).sort((a, b) => far(a) - far(b))[0];
    }
    next?.focus();
    event.preventDefault();
  }

  lifted(event) {
    const button = event.target.closest?.(".tile[data-template]");
    const head = event.target.closest?.(".line.head");
    if (head && !button) {
      this.dragged = { group: this.group(head), faces: null };
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setData("text/plain", head.textContent);
      return;
    }
    if (!button) return;
    const group = this.group(button), one = this.face(button);
    const many = this.chosen.has(one.template) ? group.faces.filter((f) => this.chosen.has(f.template)) : [one];
    this.dragged = { group, faces: many };
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", one.template);
  }

  dragging(event) {
    const line = event.target.closest?.(".line");
    for (const one of this.root.querySelectorAll(".target")) one.classList.remove("target");
    if (!this.dragged || !line) return;
    const group = this.group(line);
    if (event.type === "dragover" && group !== this.dragged.group) {
      event.preventDefault();
      line.classList.add("target");
    } else if (event.type === "drop") {
      event.preventDefault();
      const { faces, group: from } = this.dragged;
      this.dragged = null;
      if (group !== from) this.work.drop(faces, from, group);
    } else if (event.type === "dragend") this.dragged = null;
  }
}
