// Before anything is painted: the theme that was chosen here, else the system's.
(() => {
  const root = document.documentElement;
  const read = () => { try { return localStorage.getItem("vultus-theme"); } catch { return null; } };
  const chosen = read();
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    const dark = () => root.dataset.theme
      ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    const tell = () => button.setAttribute("aria-pressed", String(dark()));
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      try { localStorage.setItem("vultus-theme", root.dataset.theme); } catch { /* private mode */ }
      tell();
    });
    tell();
  });
})();
