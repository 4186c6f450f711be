// The keyboard: / j k enter r x g ?, selected rows, the theme.
"use strict";
(() => {
  const rows = () => [...document.querySelectorAll(".row a.id, main .line a.id")];
  let wentTo = 0;

  function move(step) {
    const links = rows();
    if (!links.length) return;
    const at = links.findIndex((link) => here(link)?.contains(document.activeElement));
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + step))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }

  const here = (element) => element.closest(".row, .line");

  function retry() {
    const row = here(document.activeElement || document.body);
    const scope = row || (document.querySelector(".row") ? null : document);
    scope?.querySelector('[data-verb="retry"]')?.click();
  }

  function tick() {
    const box = here(document.activeElement || document.body)?.querySelector('input[type="checkbox"]');
    if (box) box.click();
  }

  const PLACES = { o: "/", j: "/jobs", d: "/dead", g: "/groups", s: "/schedules", w: "/workers" };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape" && typing) typing.blur();
    if (typing) return;
    if (Date.now() - wentTo < 1500 && PLACES[event.key]) {
      location.href = live.root + PLACES[event.key];
      return;
    }
    wentTo = event.key === "g" ? Date.now() : 0;
    const actions = { "/": () => document.getElementById("q")?.focus(), j: () => move(1), k: () => move(-1), r: retry, x: tick, "?": help };
    const action = actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });

  const dialog = document.getElementById("keys");
  const help = () => dialog.showModal();
  document.getElementById("help").addEventListener("click", help);

  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const order = ["", "light", "dark"];
    const next = order[(order.indexOf(root.dataset.theme || "") + 1) % 3];
    if (next) root.dataset.theme = next;
    else delete root.dataset.theme;
    try {
      localStorage.setItem("queuectl-theme", next);
    } catch {
      // It holds for this page only.
    }
    document.getElementById("live").textContent = `Theme: ${next || "as the system"}`;
  });

  // A choice of two that this browser keeps.
  function toggle(name, value) {
    const root = document.documentElement;
    const next = root.dataset[name] ? "" : value;
    if (next) root.dataset[name] = next;
    else delete root.dataset[name];
    try {
      localStorage.setItem(`queuectl-${name}`, next);
    } catch {
      // It holds for this page only.
    }
    return next;
  }

  document.getElementById("density")?.addEventListener("click", () => {
    document.getElementById("live").textContent = toggle("density", "compact") ? "Low rows" : "High rows";
  });
  document.getElementById("zone").addEventListener("click", () => {
    toggle("zone", "utc");
    live.clock();
    document.getElementById("live").textContent = `Times: ${live.zoneName()}`;
  });

  // Alarms as notifications of the browser, if it is asked for them.
  const notify = document.getElementById("notify");
  let alarmed = document.getElementById("alerts").dataset.alarms;
  const wants = () => {
    try {
      return localStorage.getItem("queuectl-notify") === "yes" && Notification.permission === "granted";
    } catch {
      return false;
    }
  };
  if (!("Notification" in window)) notify.hidden = true;
  notify.setAttribute("aria-pressed", `${wants()}`);
  notify.addEventListener("click", async () => {
    const next = !wants() && (await Notification.requestPermission()) === "granted";
    try {
      localStorage.setItem("queuectl-notify", next ? "yes" : "");
    } catch {
      // It cannot be kept.
    }
    notify.setAttribute("aria-pressed", `${next}`);
    document.getElementById("live").textContent = next ? "Alarms are notified" : "No notifications";
  });
  document.addEventListener("queuectl:change", () => {
    const now = document.getElementById("alerts").dataset.alarms || "";
    if (now && now !== alarmed && now.split("; ").some((text) => !alarmed.includes(text)) && wants()) {
      new Notification("queuectl", { body: now, tag: "queuectl" });
    }
    alarmed = now;
  });

  // Ticks
  function count() {
    const boxes = [...document.querySelectorAll(".row input[type=checkbox]")];
    const ticked = boxes.filter((box) => box.checked).length;
    const text = document.getElementById("ticked");
    if (text) text.textContent = `${ticked} selected:`;
    for (const button of document.querySelectorAll("[data-many]")) button.disabled = !ticked;
    const all = document.getElementById("tick-all");
    if (all) {
      all.checked = ticked > 0 && ticked === boxes.length;
      all.indeterminate = ticked > 0 && ticked < boxes.length;
    }
  }

  let last = null;
  document.addEventListener("click", (event) => {
    const box = event.target.closest('.row input[type="checkbox"]');
    if (!box) return;
    const boxes = [...document.querySelectorAll(".row input[type=checkbox]")];
    if (event.shiftKey && last && boxes.includes(last)) {
      const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
      for (const each of boxes.slice(from, to + 1)) each.checked = box.checked;
    }
    last = box;
    count();
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "tick-all") {
      for (const box of document.querySelectorAll(".row input[type=checkbox]")) box.checked = event.target.checked;
    }
    count();
  });
  document.addEventListener("queuectl:change", count);
  count();

  // On a phone the navigation is a row that scrolls: show where this page is in it.
  for (const row of document.querySelectorAll("#nav, .tabs")) {
    const chosen = row.querySelector("[aria-current]");
    if (chosen && row.scrollWidth > row.clientWidth) row.scrollLeft = chosen.offsetLeft - row.clientWidth / 2 + chosen.offsetWidth / 2;
  }
})();
