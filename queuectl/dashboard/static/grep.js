// A search in logs goes through all of them, piece by piece, until it is stopped: what each piece finds is added.
"use strict";
(() => {
  const note = document.getElementById("searching");
  if (!note) return;
  const stop = document.getElementById("stop");
  const looked = document.getElementById("looked");
  let stopped = false;
  let total = Number(note.dataset.looked);
  let found = Number(note.dataset.found);
  const more = () => document.querySelector(`a[rel="next"]`);

  function take(page) {
    const rows = page.querySelectorAll("tbody .row");
    const body = document.querySelector(".table tbody");
    if (rows.length && !body) {
      const list = page.querySelector("form.list");
      document.querySelector("section.empty")?.replaceWith(document.importNode(list, true));
    } else body?.append(...[...rows].map((row) => document.importNode(row, true)));
    found += rows.length;
    total += Number(page.getElementById("searching")?.dataset.looked || 0);
    const next = page.querySelector(`a[rel="next"]`);
    for (const link of document.querySelectorAll(`a[rel="next"]`)) {
      if (next) link.href = next.getAttribute("href");
      else link.remove();
    }
    looked.textContent = `${found.toLocaleString("en")} found in ${total.toLocaleString("en")} of ${Number(note.dataset.total).toLocaleString("en")} logs`;
    document.dispatchEvent(new Event("queuectl:change"));
  }

  async function search() {
    while (!stopped && more() && found < 1000) {
      try {
        const answer = await fetch(more().href, { cache: "no-store" });
        if (!answer.ok) break;
        take(new DOMParser().parseFromString(await answer.text(), "text/html"));
      } catch {
        break;
      }
    }
    stop.hidden = true;
    note.setAttribute("aria-busy", "false");
  }

  stop.hidden = !more();
  stop.addEventListener("click", () => (stopped = true));
  search();
})();
