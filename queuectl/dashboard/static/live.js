// Keeps the page up to date: requests it again every two seconds while it is visible, and changes what has changed.
"use strict";
const live = (() => {
  const PERIOD = 2000;
  const SLOWEST = 15000;
  const root = document.body.dataset.root;
  let tag = "";
  let timer = 0;
  let failures = 0;
  let asking = null;

  function take(html) {
    const page = new DOMParser().parseFromString(html, "text/html");
    const main = page.getElementById("main");
    if (!main) {
      location.reload(); // a login page, say
      return;
    }
    const focused = document.activeElement;
    morph(document.getElementById("main"), main);
    const nav = page.getElementById("nav");
    if (nav) morph(document.getElementById("nav"), nav);
    if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
    if (document.title !== page.title) document.title = page.title;
    const icon = document.getElementById("favicon");
    const newIcon = page.getElementById("favicon");
    if (newIcon && icon.getAttribute("href") !== newIcon.getAttribute("href")) icon.href = newIcon.getAttribute("href");
    announce();
    clock();
    document.dispatchEvent(new Event("queuectl:change"));
  }

  const notifies = () => document.getElementById("notify").getAttribute("aria-pressed") === "true";

  async function ask() {
    clearTimeout(timer);
    if (document.body.dataset.live !== "yes") return;
    if (document.hidden && !notifies()) return;
    asking = new AbortController();
    const patience = setTimeout(() => asking.abort(), 15000);
    try {
      const answer = await fetch(location.pathname + location.search, {
        headers: {
          ...(tag ? { "If-None-Match": tag } : {}),
          ...(document.getElementById("lines") ? { "X-Queuectl-Update": "1" } : {}), // log.js has the log
        },
        cache: "no-store",
        signal: asking.signal,
      });
      if (answer.status === 200) {
        tag = answer.headers.get("ETag") || "";
        take(await answer.text());
      } else if (answer.status === 404) {
        document.body.dataset.live = "no";
        const note = document.getElementById("offline");
        note.querySelector("span").textContent = "This job is no longer in the spool.";
        note.hidden = false;
        return;
      } else if (answer.status !== 304) {
        throw new Error(`${answer.status}`);
      }
      failures = 0;
    } catch {
      failures += 1;
    } finally {
      clearTimeout(patience);
    }
    document.getElementById("offline").hidden = failures < 2;
    document.body.classList.toggle("stale", failures >= 2);
    timer = setTimeout(ask, document.hidden ? SLOWEST : Math.min(PERIOD * 2 ** Math.min(failures, 4), SLOWEST));
  }

  // Relative times update themselves.
  function brief(seconds) {
    for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
    }
    return `${Math.floor(seconds)} s`;
  }

  function stopwatch(seconds) {
    const two = (number) => String(number).padStart(2, "0");
    const [d, h, m, s] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
    if (d) return `${d} d ${two(h)}:${two(m)}:${two(s)}`;
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  }

  // Absolute times: those of this browser, or UTC, with the name of the zone.
  const isUtc = () => document.documentElement.dataset.zone === "utc";
  const zoneName = (at = new Date()) =>
    isUtc() ? "UTC" : new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(at).find((part) => part.type === "timeZoneName").value;

  function parts(at) {
    const zoned = isUtc() ? at : new Date(at.getTime() - at.getTimezoneOffset() * 60000);
    const text = zoned.toISOString();
    return [text.slice(0, 10), text.slice(11, 19)];
  }

  function absolute(time) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime()) || at.getFullYear() > 9998) return;
    const [day, hour] = parts(at);
    const zone = zoneName(at);
    const since = time.classList.contains("elapsed") ? "since " : "";
    const title = `${since}${day} ${hour} ${zone}`;
    if (time.title !== title) time.title = title;
    if (!time.classList.contains("clock")) return;
    const isToday = parts(new Date())[0] === day;
    const kind = time.dataset.show;
    const text = kind === "full" ? `${day} ${hour} ${zone}` : kind === "minute" ? hour.slice(0, 5) : kind === "day" ? day.slice(5) : isToday ? hour : `${day} ${hour}`;
    if (time.textContent !== text) time.textContent = text;
  }

  function clock() {
    const now = Date.now();
    for (const time of document.querySelectorAll("time")) absolute(time);
    const zone = document.querySelector("#zone span");
    if (zone && zone.textContent !== zoneName()) zone.textContent = zoneName();
    for (const time of document.querySelectorAll("time.elapsed")) {
      const text = stopwatch(Math.max(0, (now - Date.parse(time.dateTime)) / 1000));
      if (time.textContent !== text) time.textContent = text;
    }
    for (const time of document.querySelectorAll("time:not(.clock, .elapsed)")) {
      const seconds = (Date.parse(time.dateTime) - now) / 1000;
      const span = brief(Math.abs(seconds));
      const text = Math.abs(seconds) < 1 ? "just now" : seconds > 0 ? `in ${span}` : `${span} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // The counters, for screen readers, but not at every update.
  let announced = "";
  let announcedAt = 0;
  function announce() {
    const counts = [...document.querySelectorAll("[data-stat]")].map((stat) => `${stat.dataset.count} ${stat.dataset.stat}`);
    const dead = document.querySelector("#nav .alarm");
    const text = counts.length ? counts.join(", ") : `${dead ? dead.textContent : "0"} dead`;
    if (!announced || (text !== announced && Date.now() - announcedAt > 5000)) {
      if (announced) document.getElementById("live").textContent = text;
      announced = text;
      announcedAt = Date.now();
    }
  }

  // An action without leaving the page: send the form, and show the page that comes back.
  async function act(event) {
    const form = event.target;
    const button = event.submitter;
    if (!form.matches("form[data-act]") || (button && button.hasAttribute("data-page"))) return;
    event.preventDefault();
    const data = new URLSearchParams(new FormData(form, button));
    if (button) button.disabled = true;
    if (asking) asking.abort();
    try {
      const target = (button && button.getAttribute("formaction")) || form.getAttribute("action");
      const answer = await fetch(target, { method: "POST", body: data, cache: "no-store" });
      tag = "";
      const html = await answer.text();
      if (answer.headers.get("Content-Type")?.startsWith("text/html")) take(html);
      else alertText(html);
      if (!answer.redirected) document.body.dataset.live = "no"; // a question, or what was wrong: it stays
      for (const box of document.querySelectorAll(".row input:checked")) if (answer.ok) box.checked = false;
      document.dispatchEvent(new Event("queuectl:change"));
    } catch {
      alertText("The dashboard cannot be reached; nothing was done.");
    } finally {
      if (button) button.disabled = false;
      timer = setTimeout(ask, PERIOD);
    }
  }

  function alertText(text) {
    const note = document.getElementById("offline");
    note.querySelector("span").textContent = text;
    note.hidden = false;
  }

  function copy(event) {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    const done = () => {
      document.getElementById("live").textContent = "Copied";
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1200);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => select(button.dataset.copy));
    else select(button.dataset.copy);
  }

  function select(id) {
    getSelection().selectAllChildren(document.getElementById(id));
  }

  document.addEventListener("submit", act);
  document.addEventListener("click", copy);
  document.addEventListener("visibilitychange", () => (document.hidden && !notifies() ? clearTimeout(timer) : ask()));
  setInterval(() => document.hidden || clock(), 1000);
  for (const choice of document.querySelectorAll(".filter select")) {
    choice.addEventListener("change", () => choice.form.requestSubmit());
  }
  announce();
  clock();
  timer = setTimeout(ask, PERIOD);
  return { ask, root, clock, zoneName };
})();
