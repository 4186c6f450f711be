// The chosen theme, before the first paint: light, dark, or (without a choice) the system's.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("has-js");
  try {
    const chosen = localStorage.getItem("queuectl-theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  } catch {
    // No storage: use the system's theme.
  }
})();
