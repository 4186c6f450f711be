// What this browser has chosen, before the first paint: theme (without a choice the system's), density, UTC.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("has-js");
  try {
    const chosen = localStorage.getItem("queuectl-theme");
    if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
    if (localStorage.getItem("queuectl-density") === "compact") root.dataset.density = "compact";
    if (localStorage.getItem("queuectl-zone") === "utc") root.dataset.zone = "utc";
  } catch {
    // No storage: use the system's theme.
  }
})();
