// Mends for screen readers and the keyboard.  Of sphinx-book-theme 1.1.4 and pydata-sphinx-theme
// 0.15.4: a name that is not the text one sees (the search, folded parts), an icon that is read out
// beside the name of its button, a logo outside of every landmark, boxes that scroll but cannot be
// reached.  Of docutils 0.21: a list of citations whose entries are no list items.
document.addEventListener("DOMContentLoaded", () => {
  const all = (selector, mend) => document.querySelectorAll(selector).forEach(mend);
  all(".search-button-field", (b) => b.removeAttribute("aria-label"));
  all("details > summary[aria-label]", (s) => s.removeAttribute("aria-label"));
  all(".theme-switch-button :is(svg, span, i)", (x) => x.setAttribute("aria-hidden", "true"));
  all(".citation-list > .citation", (entry) => entry.setAttribute("role", "listitem"));
  all(".sidebar-primary-items__start > .sidebar-primary-item:first-child", (d) => {
    d.setAttribute("role", "navigation");
    d.setAttribute("aria-label", "Home");
  });
  document.querySelectorAll("main").forEach(reachable);
});

// What scrolls can be reached with the keyboard: a box in `root` whose content is larger than it
// takes the focus, unless something inside it does.  Its size depends on the window, on the fonts,
// on what is folded and on what scripts add, so a box is judged when it or something inside it is
// laid out in another size, which also happens when a far section comes near.  What is far is not
// laid out and so not measured: to measure all of a long page at once takes a second.
function reachable(root) {
  const inLine = ":is(pre, p, svg, math, .katex) *"; // no boxes of their own
  const focusable = ":is(a[href], button, input, select, textarea, summary, iframe, [tabindex='0'])";
  const given = new WeakMap(); // which attributes a box was given
  const scrolls = (box) => {
    const { overflowX, overflowY } = getComputedStyle(box), can = /auto|scroll/;
    return (can.test(overflowX) && box.scrollWidth > box.clientWidth)
      || (can.test(overflowY) && box.scrollHeight > box.clientHeight);
  };
  const holdsFocus = (box) => [...box.querySelectorAll(focusable)].some((e) => e.checkVisibility());
  const give = (box) => {
    const attributes = { tabindex: 0 };
    if (!box.role && box.tagName !== "TABLE" && box.querySelector("table")) {
      const named = box.querySelector("caption") ?? box.closest("section")?.querySelector("h1, h2, h3, h4");
      attributes.role = "region"; // a name needs a role
      attributes["aria-label"] = `Table: ${named?.firstChild?.textContent ?? document.title}`;
    }
    for (const name in attributes) box.setAttribute(name, attributes[name]);
    given.set(box, Object.keys(attributes));
  };
  const take = (box) => {
    given.get(box).forEach((name) => box.removeAttribute(name));
    given.delete(box);
  };
  const sizes = new ResizeObserver((seen) => {
    const boxes = new Set(); // a target may have left the page by now
    for (let { target } of seen) {
      for (; target && target !== root && !boxes.has(target); target = target.parentElement) boxes.add(target);
    }
    // The inner ones first, and all are measured before one is changed: layout is dear.
    const found = [...boxes].filter(scrolls).sort((a, b) => (a.compareDocumentPosition(b) & 4 ? 1 : -1));
    [...boxes].filter((box) => given.has(box) && !found.includes(box)).forEach(take);
    found.filter((box) => !given.has(box) && !holdsFocus(box)).forEach(give);
  });
  const watch = (part) => {
    sizes.unobserve(part); // what is observed already is judged anew only if it is let go first
    if (!part.matches(inLine)) sizes.observe(part);
  };
  const watchAll = (part) => [part, ...part.querySelectorAll("*")].forEach(watch);
  watchAll(root);
  document.fonts.addEventListener("loadingdone", () => watchAll(root));
  new MutationObserver((changes) => changes.forEach(({ addedNodes }) => addedNodes
    .forEach((part) => part.nodeType === Node.ELEMENT_NODE && watchAll(part))))
    .observe(root, { childList: true, subtree: true });
}
