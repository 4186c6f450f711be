// Make a piece of the page like another without replacing what stays: focus, selection, scroll,
// ticks, open details and half-typed text are kept. Children are matched by id or data-key.
"use strict";
const morph = (() => {
  // What the user, not the server, decides.
  const OWN = new Set(["open", "value", "checked", "style", "data-own", "data-usual"]);

  // By attribute: the property of a form with a field called "id" would be that field.
  const keyOf = (node) => (node.nodeType === 1 ? node.getAttribute("data-key") || node.getAttribute("id") || "" : "");

  function attributes(from, to) {
    for (const { name, value } of to.attributes) {
      if (!OWN.has(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
      else if (name === "value" && from.type === "hidden") from.value = value;
      else if (name === "value" && from !== document.activeElement && from.value === from.defaultValue) {
        from.value = value;
        from.defaultValue = value;
      } else if (name === "value" && from.tagName === "BUTTON") from.value = value;
    }
    for (const { name } of [...from.attributes]) {
      if (!OWN.has(name) && !to.hasAttribute(name) && !name.startsWith("data-js")) from.removeAttribute(name);
    }
  }

  function fits(from, to) {
    return from.nodeType === to.nodeType && from.nodeName === to.nodeName && keyOf(from) === keyOf(to);
  }

  function node(from, to) {
    if (from.nodeType !== 1) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    if (from.hasAttribute("data-keep")) return;
    if (from.tagName === "TIME" && from.dateTime === to.dateTime) return; // its text is kept up to date by the clock
    if (from.id === "offline") return;
    attributes(from, to);
    if (from.tagName === "SELECT" && from === document.activeElement) return;
    children(from, to);
  }

  function children(from, to) {
    const wanted = new Set([...to.childNodes].map(keyOf).filter(Boolean));
    const old = new Map();
    for (const child of from.childNodes) if (keyOf(child)) old.set(keyOf(child), child);
    let at = from.firstChild;
    for (const next of [...to.childNodes]) {
      const key = keyOf(next);
      while (at && keyOf(at) && !wanted.has(keyOf(at))) at = drop(at);
      if (at && fits(at, next)) {
        node(at, next);
        at = at.nextSibling;
      } else if (key && old.has(key) && old.get(key).nodeName === next.nodeName) {
        const found = old.get(key);
        from.insertBefore(found, at);
        node(found, next);
      } else {
        from.insertBefore(document.importNode(next, true), at);
      }
    }
    while (at) at = drop(at);
  }

  function drop(child) {
    const next = child.nextSibling;
    child.remove();
    return next;
  }

  return node;
})();
