(() => {
  const root = document.documentElement, button = document.getElementById("theme"), key = "sslkit-theme";
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const show = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-pressed", String(dark()));
  };
  const stored = (value) => {
    try {
      if (value) localStorage.setItem(key, value);
      return localStorage.getItem(key);
    } catch {
      return null; // a browser that keeps nothing for files
    }
  };
  const before = stored();
  if (before) root.dataset.theme = before;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    stored(root.dataset.theme);
    show();
  });
  system.addEventListener("change", show);
  const folded = new Set();
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details:not([open])").forEach((box) => { folded.add(box); box.open = true; });
  });
  window.addEventListener("afterprint", () => {
    folded.forEach((box) => { box.open = false; });
    folded.clear();
  });
  show();
})();
