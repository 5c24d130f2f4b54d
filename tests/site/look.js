// Runs in a page and tells what is there.  Text inside code, scripts and formulas is no prose.
async () => {
  const explorable = document.querySelector(".zero-explorer");
  explorable?.scrollIntoView(); // it is drawn when it comes near
  while (explorable && !explorable.dataset.ready) await new Promise(requestAnimationFrame);
  scrollTo({ top: 0, behavior: "instant" });
  document.querySelectorAll("img").forEach((i) => (i.loading = "eager"));
  await Promise.all([...document.images].map((i) => i.decode().catch(() => null)));
  document.body.offsetHeight; // what is laid out now asks for its fonts
  await document.fonts.ready;
  const main = document.querySelector("main") ?? document.body;
  const texts = [], drawn = [], letters = {};
  const walker = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
  const skip = "script, style, code, pre, textarea, .katex";
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || parent.closest("script, style")) continue;
    if (!parent.closest(skip)) texts.push([node.data.trim(), parent]);
    if (!parent.closest("math")) drawn.push([node.data, parent]);
  }
  // Text is to be drawn in the first font of its list: one that the page brought, or a generic one.
  for (const [data, parent] of drawn) {
    if (!parent.checkVisibility()) continue;
    const { fontFamily, fontStyle } = getComputedStyle(parent), kind = `${fontStyle} ${fontFamily}`;
    for (const letter of data) (letters[kind] ??= new Set()).add(letter);
  }
  const first = (kind) => kind.replace(/^\S+ /, "").split(",")[0].replaceAll('"', "").trim();
  const come = new Set([...document.fonts].filter((f) => f.status === "loaded").map((f) => f.family.replaceAll('"', "")));
  const generic = ["serif", "sans-serif", "monospace", "system-ui"];
  const rgba = (text) => {
    const v = (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    return v.length < 4 ? [...v, 1] : v;
  };
  const background = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c[3] > 0.5) return c;
    }
    return [255, 255, 255, 1];
  };
  const light = (c) => {
    const f = c.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2];
  };
  const contrast = (e) => {
    const [a, b] = [light(rgba(getComputedStyle(e).color)), light(background(e))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const offCentre = (e) => {
    const [box, ...parts] = [e, ...e.querySelectorAll(".katex-html > .katex-base")].map((p) => p.getBoundingClientRect());
    const [left, right] = [Math.min(...parts.map((p) => p.left)), Math.max(...parts.map((p) => p.right))];
    return right - left < box.width && Math.abs(left + right - box.left - box.right) > 8;
  };
  return {
    theme: document.documentElement.dataset.theme ?? null,
    prose: texts.map(([t]) => t).join("\n"),
    faint: texts.filter(([t, e]) => /\w{3}/.test(t) && e.checkVisibility() && contrast(e) < 2).map(([t]) => t.slice(0, 60)),
    letters: Object.fromEntries(Object.entries(letters).map(([kind, set]) => [kind, [...set].join("")])),
    lost: [...new Set(Object.keys(letters).map(first))].filter((name) => !generic.includes(name) && !come.has(name)),
    // "Near ...": a font of the machine, which need not have it; it stands there until ours has come.
    failed: [...document.fonts].filter((f) => f.status === "error" && !f.family.startsWith("Near ")).map((f) => f.family),
    formulas: [...document.querySelectorAll(".math")].map((e) => !!e.querySelector(".katex-html")),
    offCentre: [...document.querySelectorAll("div.math")].filter(offCentre).map((e) => e.textContent.slice(0, 60)),
    mathErrors: [...document.querySelectorAll(".katex-error")].map((e) => e.textContent),
    images: [...document.images].map((i) => ({
      src: i.getAttribute("src") ?? "", alt: i.getAttribute("alt"), broken: i.complete && !i.naturalWidth,
      filter: getComputedStyle(i).filter, inText: main.contains(i),
      // beside the words of its own link, a text would be the same read twice
      said: i.getAttribute("alt") === "" && !!i.closest("a")?.textContent.trim(),
    })),
    bytes: [...performance.getEntriesByType("resource"), ...performance.getEntriesByType("navigation")]
      .reduce((sum, entry) => sum + entry.encodedBodySize, 0),
    meta: Object.fromEntries([...document.querySelectorAll("meta[property], meta[name]")]
      .map((m) => [m.getAttribute("property") ?? m.name, m.content])),
    lang: document.documentElement.lang,
    links: [...document.querySelectorAll("a[href]")].map((a) => a.href),
    ids: [...document.querySelectorAll("[id], a[name]")].flatMap((e) => [e.id, e.getAttribute("name")]),
  };
}
