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
  // What scrolls sideways can be reached with the keyboard.  Far from the view nothing is measured.
  const boxes = "pre, .cell_output > .output, .katex-display";
  const scrolls = new ResizeObserver((seen) => seen
    .map(({ target }) => target.closest(boxes))
    .map((box) => [box, box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight])
    .forEach(([box, does]) => { box.tabIndex = does ? 0 : -1; }));
  all(boxes, (box) => [box, box.firstElementChild].forEach((e) => e && scrolls.observe(e)));
});
