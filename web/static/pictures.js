// Pictures of somebody, from files or the camera, and what became of each.

import { $, ask, badge, complain, el, reason, t, told } from "./page.js";
import { Camera, cameraProblem } from "./camera.js";

export class Pictures {
  constructor() {
    this.picked = []; // { blob, name, url }
    this.camera = new Camera($("mini"));
    $("files").addEventListener("change", (event) => {
      for (const file of event.target.files) this.add(file, file.name);
      event.target.value = "";
    });
    $("camera").addEventListener("click", () => (this.camera.open ? this.close() : this.open()));
    $("shoot").addEventListener("click", () => this.shoot());
  }

  add(blob, name) {
    if (this.picked.length >= told.frames) return complain(new Error(t("pictures.most", { n: told.frames })));
    this.picked.push({ blob, name, url: URL.createObjectURL(blob) });
    this.show();
  }

  async open() {
    try {
      $("shooting").hidden = false;
      await this.camera.start();
      $("camera").textContent = t("pictures.camera.off");
      this.guide();
    } catch (error) {
      $("shooting").hidden = true;
      complain(new Error(t(cameraProblem(error))));
    }
  }

  close() {
    this.camera.stop();
    $("shooting").hidden = true;
    $("camera").textContent = t("pictures.camera");
  }

  /** Say what to do while the camera runs. */
  async guide() {
    while (this.camera.open) {
      try {
        const form = new FormData();
        form.append("image", await this.camera.glance(this.camera.grab()), "look.jpg");
        const words = t(`guide.${(await ask("POST", "/v1/detect", form)).guidance}`);
        if ($("mini-guide").textContent !== words) $("mini-guide").textContent = words;
      } catch { /* guidance is a help, not a need */ }
      await new Promise((done) => setTimeout(done, 400));
    }
  }

  /** The sharpest of five frames. */
  async shoot() {
    const frames = [];
    for (let i = 0; i < 5; i++) {
      const frame = this.camera.grab();
      frame.sharpness = this.camera.sharpness(frame);
      frames.push(frame);
      await new Promise((done) => setTimeout(done, 50));
    }
    const best = frames.reduce((a, b) => (b.sharpness > a.sharpness ? b : a));
    this.add(await this.camera.keep(best), t("pictures.shot", { n: this.picked.length + 1 }));
  }

  show() {
    $("picked").replaceChildren(...this.picked.map((one, i) => el(
      "li", {}, el("img", { className: "face", src: one.url, alt: one.name, width: 76, height: 76 }),
      el("button", { type: "button", "aria-label": t("pictures.drop", { name: one.name }), onclick: () => { this.picked.splice(i, 1); this.show(); } }, "×"),
    )));
  }

  fill(form) {
    for (const { blob, name } of this.picked) form.append("image", blob, name);
    return form;
  }

  /** Show what became of each; those that were taken are no longer picked. */
  told(outcomes) {
    const sent = this.picked;
    $("outcomes").replaceChildren(...outcomes.map((one) => el(
      "li", {}, el("img", { className: "face", src: sent[one.index].url, alt: "", width: 52, height: 52 }),
      el("div", {}, el("b", {}, sent[one.index].name),
        el("br"), el("span", { className: "soft" }, one.reason ? [reason(one.reason, one.detail), one.detail].filter((words, i, all) => words && all.indexOf(words) === i).join(" ") : one.detail || t(`outcome.${one.status}.why`))),
      badge({ enrolled: "yes", unchanged: "unsure", rejected: "no" }[one.status], t(`outcome.${one.status}`)),
    )));
    this.picked = sent.filter((_, i) => outcomes.some((one) => one.index === i && one.status === "rejected"));
    this.show();
  }

  clear() {
    this.close();
    this.picked = [];
    this.show();
    $("outcomes").replaceChildren();
  }
}
