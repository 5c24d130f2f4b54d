// Mends what the theme leaves unnamed for screen readers.
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
