// The search shows of each page what a reader can read.  Sphinx 7.4 takes the text of the whole page:
// code, formulas three times over, the words of drawings and of buttons, cut within a word.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const UNREAD = ".headerlink, .highlight, .katex-html, annotation, .katex-display, script, style, "
    + "noscript, template, svg, .zero-explorer, .zero-write, canvas, button, select, label, output, [hidden], .visually-hidden, "
    + ".toctree-wrapper, details.hide > summary";
  const BLOCKS = "address, blockquote, br, caption, dd, div, dl, dt, figcaption, h1, h2, h3, h4, h5, li, "
    + "p, section, summary, table, td, th, tr, a[href*='#claim-'], .chip";
  const LENGTH = 240;

  // A formula on one line: a fraction with a stroke, a letter beside its index.
  const line = (math) => math.localName === "mfrac"
    ? [...math.children].map((part) => part.children.length > 1 ? `(${line(part)})` : line(part)).join("/")
    : math.children.length ? [...math.children].map(line).join("")
      : math.textContent.replace(/^[=<>≤≥≠≈→]$/, " $& ").replace("\u2061", " ");

  Search.htmlToText = (html, anchor) => {
    const page = new DOMParser().parseFromString(html, "text/html");
    const main = page.querySelector("article.bd-article") ?? page.querySelector("[role=main]");
    const part = (anchor && main?.querySelector(anchor)) || main;
    if (!part) return "";
    part.querySelectorAll(UNREAD).forEach((e) => e.remove());
    part.querySelectorAll("h1").forEach((e) => e.remove()); // the name of the page stands above
    part.querySelectorAll("math").forEach((e) => e.replaceWith(line(e)));
    part.querySelectorAll(BLOCKS).forEach((e) => [e.before(" "), e.after(" ")]);
    return part.textContent.replace(/[\u2062-\u2064\u200b]/g, "").replace(/\s+/g, " ").trim();
  };

  // The stretch of words that has most of those that were looked for.
  Search.makeSearchSummary = (html, keywords, anchor) => {
    const text = Search.htmlToText(html, anchor), lower = text.toLowerCase();
    const words = [...keywords].map((word) => word.toLowerCase());
    const holds = (start) => {
      const piece = lower.slice(start, start + LENGTH);
      return words.filter((word) => piece.includes(word)).length;
    };
    let best = 0;
    for (const word of words)
      for (let at = lower.indexOf(word); at >= 0; at = lower.indexOf(word, at + 1)) {
        const start = Math.max(0, at - LENGTH / 3);
        if (holds(start) > holds(best)) best = start;
      }
    const from = best && text.indexOf(" ", best) + 1;
    const full = from + LENGTH >= text.length;
    const to = full ? text.length : text.lastIndexOf(" ", from + LENGTH);
    const summary = document.createElement("p");
    summary.className = "context";
    summary.textContent = `${from ? "… " : ""}${text.slice(from, to)}${full ? "" : " …"}`;
    return summary;
  };
});
