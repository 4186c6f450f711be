// The log of a job: what is new at its end, by byte offset; earlier pieces at its start; follow and wrap.
"use strict";
(() => {
  const PERIOD = 1000;
  const MOST = 5000; // lines kept in the page
  const follow = document.getElementById("follow");
  const wrap = document.getElementById("wrap");
  const lines = () => document.getElementById("lines");
  let timer = 0;

  function sizeOf(bytes) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (bytes >= 1024 && unit < 4) [bytes, unit] = [bytes / 1024, unit + 1];
    return unit ? `${bytes.toFixed(1)} ${units[unit]}` : `${bytes} B`;
  }

  function atEnd(box) {
    return box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  }

  // Elements of the lines that came, with numbers in front as the server makes them.
  function numbered(html, piece) {
    const holder = document.createElement("template");
    const lines = html ? html.split("\n") : [];
    holder.innerHTML = lines.map((line) => (line.startsWith("<div ") ? line : `<div>${line}</div>`)).join(""); // escaped by the server
    if (piece.first === null) return holder.content;
    [...holder.content.children].forEach((line, index) => {
      const number = piece.first + (piece.before ? piece.before[index] : index);
      const link = document.createElement("a");
      link.className = "n";
      link.tabIndex = -1; // not thousands of stops for the tab key: the search takes :NUMBER
      link.href = `?line=${number}#L${number}`;
      link.textContent = number;
      line.id = `L${number}`;
      line.prepend(link);
    });
    return holder.content;
  }

  function add(box, piece) {
    const partial = box.querySelector(".partial");
    const stays = atEnd(box);
    if (piece.html) {
      partial.before(numbered(piece.html, piece));
      document.getElementById("no-output")?.remove();
    }
    const holder = document.createElement("template");
    holder.innerHTML = piece.partial;
    if (partial.innerHTML !== holder.innerHTML) partial.replaceChildren(holder.content);
    box.dataset.stop = piece.stop;
    const size = document.getElementById("log-size");
    if (size) size.textContent = sizeOf(piece.size);
    box.dataset.style = piece.style;
    while (box.childElementCount > MOST) box.firstElementChild.remove();
    if (stays && follow?.checked) box.scrollTop = box.scrollHeight;
  }

  async function ask() {
    clearTimeout(timer);
    const box = lines();
    if (!box || document.hidden || !follow?.checked || box.dataset.end) {
      timer = setTimeout(ask, PERIOD);
      return;
    }
    let again = PERIOD;
    try {
      const { url, stop, style } = box.dataset;
      const answer = await fetch(`${url}?from=${stop}&style=${encodeURIComponent(style)}`, { cache: "no-store" });
      if (answer.ok) {
        const piece = await answer.json();
        if (piece.size < Number(stop)) location.reload(); // the log was started again
        add(box, piece);
        if (piece.stop < piece.size && piece.html) again = 0;
      }
    } catch {
      // live.js reports that the dashboard cannot be reached
    }
    timer = setTimeout(ask, again);
  }

  async function earlier(event) {
    const link = event.target.closest("#earlier");
    const box = lines();
    if (!link || !box) return;
    event.preventDefault();
    const answer = await fetch(`${box.dataset.url}?to=${box.dataset.start}&least=${link.dataset.least}`, { cache: "no-store" });
    if (!answer.ok) return;
    const piece = await answer.json();
    const height = box.scrollHeight;
    box.prepend(numbered(piece.html, piece));
    box.scrollTop += box.scrollHeight - height;
    box.dataset.start = piece.start;
    if (piece.start <= Number(link.dataset.least)) link.parentElement.hidden = true;
  }

  if (!lines()) return;
  const setWrap = () => lines().classList.toggle("nowrap", !wrap.checked);
  wrap?.addEventListener("change", setWrap);
  follow?.addEventListener("change", () => {
    if (follow.checked) {
      lines().scrollTop = lines().scrollHeight;
      ask();
    }
  });
  document.addEventListener("click", earlier);
  document.addEventListener("visibilitychange", () => document.hidden || ask());
  const asked = new URLSearchParams(location.search);
  const target = document.getElementById(location.hash.slice(1) || "none");
  if (lines().contains(target)) target.scrollIntoView({ block: "center" });
  else if (follow?.checked || !["at", "line", "hit"].some((name) => asked.has(name))) lines().scrollTop = lines().scrollHeight;
  timer = setTimeout(ask, PERIOD);
})();
