// The numbers of a bar, for pointers, touch and the arrow keys: the same text as its title, below the chart.
"use strict";
(() => {
  const bars = (chart) => [...chart.querySelectorAll("g")];
  const reading = (chart) => chart.closest("section").querySelector(".reading");

  function choose(chart, index) {
    const all = bars(chart);
    const bar = all[Math.max(0, Math.min(all.length - 1, index))];
    for (const each of all) each.classList.toggle("chosen", each === bar);
    const text = reading(chart);
    text.dataset.usual ||= text.textContent;
    text.textContent = bar.querySelector("title").textContent;
  }

  function leave(chart) {
    for (const each of bars(chart)) each.classList.remove("chosen");
    const text = reading(chart);
    if (text.dataset.usual) text.textContent = text.dataset.usual;
  }

  function at(event) {
    const chart = event.target.closest?.(".chart");
    if (!chart) return;
    const box = chart.getBoundingClientRect();
    choose(chart, Math.floor(((event.clientX - box.left) / box.width) * bars(chart).length));
  }

  document.addEventListener("pointermove", at);
  document.addEventListener("pointerdown", at);
  document.addEventListener("pointerout", (event) => {
    const chart = event.target.closest?.(".chart");
    if (chart && event.pointerType === "mouse" && !chart.contains(event.relatedTarget)) leave(chart);
  });
  document.addEventListener("focusout", (event) => event.target.matches?.(".chart") && leave(event.target));
  document.addEventListener("keydown", (event) => {
    const chart = event.target.matches?.(".chart") ? event.target : null;
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1000, End: 1000 }[event.key];
    if (!chart || !step) return;
    event.preventDefault();
    const all = bars(chart);
    const chosen = all.findIndex((bar) => bar.classList.contains("chosen"));
    choose(chart, chosen < 0 ? (step > 0 && step < 1000 ? 0 : step === -1000 ? 0 : all.length - 1) : chosen + step);
  });
})();
