// What every page uses: its words, requests, elements, announcements.

export const told = JSON.parse(document.getElementById("told").textContent);

/** The words of a key; {name} is filled in from `values`. */
export function t(key, values = {}) {
  const words = told.text[key];
  if (words === undefined) throw new Error(`no words for ${key}`);
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

const plural = new Intl.PluralRules("en");
/** Words for a number of things: KEY.one or KEY.other. */
export const tn = (key, n, values = {}) =>
  t(`${key}.${plural.select(n) === "one" ? "one" : "other"}`, { n: n.toLocaleString("en"), ...values });

export const may = (scope) => told.scopes.includes(scope);
export const $ = (id) => document.getElementById(id);

/** An element: attributes, `on…` listeners, then children (text or nodes). */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "className") made.className = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** What the server refused, with its code. */
export class Refused extends Error {
  constructor(status, error, retry) {
    super(error.message);
    Object.assign(this, { status, code: error.code, details: error.details ?? {}, retry });
  }
}

/** Ask /v1. `body` is a FormData, a value for JSON, or nothing. */
export async function ask(method, path, body, { signal, headers = {} } = {}) {
  const sent = { method, signal, headers: { "X-CSRF-Token": told.csrf, ...headers } };
  if (body instanceof FormData || body instanceof Blob) sent.body = body;
  else if (body !== undefined) {
    sent.body = JSON.stringify(body);
    sent.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(path, sent);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, { code: "offline", message: t("error.offline") });
  }
  if (answer.status === 204) return null;
  const found = await answer.json().catch(() => ({}));
  if (answer.ok) return found;
  if (answer.status === 401 && !path.endsWith("/session")) location.assign("/signin");
  const error = found.error ?? { code: "error", message: t("error.unknown") };
  throw new Refused(answer.status, error, Number(answer.headers.get("Retry-After")) || 0);
}

/** Say something to those who listen instead of look. */
export function announce(words) {
  const live = $("live");
  live.textContent = "";
  requestAnimationFrame(() => { live.textContent = words; });
}

let toastTimer;
/** Say something to everybody, for a while. */
export function toast(words) {
  announce(words);
  document.querySelector(".toast")?.remove();
  const shown = el("div", { className: "toast", "aria-hidden": "true", popover: "manual" }, words);
  document.body.append(shown);
  shown.showPopover?.(); // above a dialog, too
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => shown.remove(), 6000);
}

/** Words for a rejection reason or an error code; the server's own where we have none. */
export const reason = (code, otherwise) => told.text[`reason.${code}`] ?? otherwise ?? code;
export const complain = (error) => {
  if (error.name !== "AbortError") toast(reason(error.code, error.message));
};

/** A stored face, or the first letter of a name where there is none. */
export function face(url, name, size = 112) {
  if (!url) return el("span", { className: "nobody", "aria-hidden": "true" }, (name || "?").slice(0, 1));
  return el("img", { className: "face", src: url, width: size, height: size, alt: "", loading: "lazy", decoding: "async" });
}

export const number = (value) => value.toLocaleString("en");
export const similarity = (value) => value.toFixed(3).replace("-", "−");
/** A share in percent, three digits at most. */
export const percent = (rate) => `${Number((rate * 100).toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 })}\u00a0%`;
export const oneIn = (rate) => t("rate.one_in", { n: number(Math.round(1 / rate)) });
export const day = (text) => new Date(text).toLocaleDateString("en", { dateStyle: "medium" });
export const moment = (text) =>
  new Date(text).toLocaleString("en", { dateStyle: "medium", timeStyle: "medium" });

/** A bar from −1…1 with the place of a threshold. */
export function meter(value, threshold, answer) {
  const part = (v) => `${Math.max(0, Math.min(1, v)) * 100}%`;
  const fill = el("i"), cut = el("b");
  fill.style.width = part(value);
  cut.style.left = part(threshold);
  const kind = { no: " no", unsure: " ask" }[answer] ?? "";
  return el("div", { className: `meter${kind}`, "aria-hidden": "true" }, fill, cut);
}

export const badge = (answer, words) =>
  el("span", { className: `badge${{ no: " no", unsure: " ask" }[answer] ?? ""}` }, words ?? t(`answer.${answer}`));

/** Wait until somebody has stopped typing. */
export function later(work, wait = 180) {
  let timer;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => work(...values), wait); };
}

/** Open a dialog; resolves to its button's value, "" when it was closed. */
export function opened(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue), { once: true });
  });
}

for (const button of document.querySelectorAll("dialog [data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
$("signout")?.addEventListener("click", async () => {
  await ask("DELETE", "/v1/session").catch(() => {});
  location.assign("/signin");
});
