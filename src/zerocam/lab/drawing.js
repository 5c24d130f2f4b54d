// What the explorable and the writing page share: colours, maps over pictures, and the chart of two
// networks' probabilities.  No dependencies.  A map (h, w) comes row by row.

/** Write a text or an attribute where it differs: layout is dear. */
export const say = (target, text) => target.textContent === text || (target.textContent = text);
export const label = (target, text, name = "aria-label") => target.getAttribute(name) === text || target.setAttribute(name, text);

export const number = (v, digits = 2) => (Math.abs(v) < 0.5 * 10 ** -digits ? 0 : v).toFixed(digits).replace("-", "−");

/** The state in the address: behind a question mark, which links within the page keep; in older links behind a hash. */
export const given = () => (location.hash.includes("=") ? location.hash : location.search).slice(1);
export const address = (state) => `${location.href.split(/[?#]/)[0]}?${state}${location.hash.includes("=") ? "" : location.hash}`;

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Put a style sheet into the page, once. */
export function dress(id, css, colours) {
  if (document.getElementById(id)) return;
  const style = element("style", { id });
  style.textContent = css.replace("STOPS", colours.join(","));
  document.head.append(style);
}

// ---- Colours -----------------------------------------------------------------------------------

/** The colour of a value: white is zero, `limit` the darkest red. */
export function colour(value, limit, colours) {
  const x = 3 + 3 * Math.max(-1, Math.min(1, limit ? value / limit : 0)), i = Math.min(5, Math.floor(x));
  const channel = (n, at) => parseInt(colours[n].slice(at, at + 2), 16);
  return [1, 3, 5].map((at) => Math.round(channel(i, at) + (x - i) * (channel(i + 1, at) - channel(i, at))));
}

/** What maps lie on: a photograph made grey and light, or white paper with the outlines of ink. */
export async function backdrop(source) {
  const image = new Image();
  image.src = source;
  await image.decode();
  const ink = image.naturalWidth < 100, zoom = ink ? 12 : 1, w = image.naturalWidth, h = image.naturalHeight;
  const made = element("canvas", { width: zoom * w, height: zoom * h }), pen = made.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0);
  const pixels = pen.getImageData(0, 0, w, h), d = pixels.data;
  if (!ink) {
    for (let i = 0; i < d.length; i += 4) d[i] = d[i + 1] = d[i + 2] = 115 + 0.55 * ((d[i] + d[i + 1] + d[i + 2]) / 3);
    pen.putImageData(pixels, 0, 0);
    return made;
  }
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, made.width, made.height);
  outline(pen, Array.from({ length: w * h }, (_, i) => d[4 * i] > 110), h, w, "#222", 2);
  return made;
}

/** Lines round the cells (h, w) that are true. */
export function outline(pen, cells, h, w, ink, width) {
  const x = pen.canvas.width / w, y = pen.canvas.height / h, at = (i, j) => i >= 0 && i < h && j >= 0 && j < w && cells[i * w + j];
  pen.beginPath();
  for (let i = 0; i <= h; i++) for (let j = 0; j <= w; j++) {
    if (at(i, j) !== at(i, j - 1)) { pen.moveTo(j * x, i * y); pen.lineTo(j * x, (i + 1) * y); }
    if (at(i, j) !== at(i - 1, j)) { pen.moveTo(j * x, i * y); pen.lineTo((j + 1) * x, i * y); }
  }
  Object.assign(pen, { strokeStyle: ink, lineWidth: width, lineCap: "round" });
  pen.stroke();
}

/** The line on which a map is zero: straight in each square between four positions. */
export function zeroLine(pen, M, h, w) {
  const X = pen.canvas.width / w, Y = pen.canvas.height / h;
  pen.beginPath();
  for (let i = 0; i + 1 < h; i++) for (let j = 0; j + 1 < w; j++) {
    const corners = [[i, j], [i, j + 1], [i + 1, j + 1], [i + 1, j]], ends = [];
    corners.forEach(([a, b], n) => {
      const [c, d] = corners[(n + 1) % 4], p = M[a * w + b], q = M[c * w + d];
      if (p > 0 !== q > 0) ends.push([(b + (d - b) * p / (p - q) + 0.5) * X, (a + (c - a) * p / (p - q) + 0.5) * Y]);
    });
    for (let n = 0; n + 1 < ends.length; n += 2) { pen.moveTo(...ends[n]); pen.lineTo(...ends[n + 1]); }
  }
  Object.assign(pen, { strokeStyle: "#222", lineWidth: Math.max(1, pen.canvas.width / 300) });
  pen.setLineDash([4 * pen.lineWidth, 3 * pen.lineWidth]);
  pen.stroke();
  pen.setLineDash([]);
}

/** A painter of maps: paint(canvas, values, h, w, limit, under) draws colour times picture. */
export function painter(colours) {
  const cell = element("canvas"), shades = Array.from({ length: 513 }, (_, i) => colour(i / 256 - 1, 1, colours));
  const resize = (target, width, height) => {
    if (target.width !== width) target.width = width;
    if (target.height !== height) target.height = height;
    return target.getContext("2d");
  };
  return (target, values, h, w, limit, under, smooth = Boolean(under)) => {
    const pen = resize(cell, w, h), pixels = pen.createImageData(w, h);
    values.forEach((v, i) => {
      pixels.data.set(shades[Math.round(256 * (Math.max(-1, Math.min(1, limit ? v / limit : 0)) + 1))], 4 * i);
      pixels.data[4 * i + 3] = 255;
    });
    pen.putImageData(pixels, 0, 0);
    const brush = resize(target, under ? under.width : w, under ? under.height : h);
    brush.imageSmoothingEnabled = smooth;
    brush.globalCompositeOperation = "source-over";
    brush.drawImage(cell, 0, 0, target.width, target.height);
    brush.globalCompositeOperation = "multiply";
    if (under) brush.drawImage(under, 0, 0);
    brush.globalCompositeOperation = "source-over";
    return brush;
  };
}

// ---- Two networks, one function ----------------------------------------------------------------

/** The classes as radio buttons, each with its probability in A on the left, in B on the right. */
export function chart(classes, choose) {
  const name = `zx${Math.random().toString(36).slice(2, 8)}`;
  const rows = classes.map((text, c) => {
    const radio = element("input", { type: "radio", name, value: c }), p = ["A", "B"].map(() => element("span", { class: "zx-number" })); // a label may hold no output: it would name that
    radio.addEventListener("input", () => choose(c));
    return { radio, p, box: element("label", { class: "zx-class" }, p[0], radio, element("span", {}, text), p[1]) };
  });
  const head = element("div", { class: "zx-equal", "aria-hidden": "true" }, element("b", {}, "A"), element("i"), element("b", {}, "B"));
  const box = element("fieldset", { class: "zx-classes" }, element("legend", {}, "Probabilities. Explain which class?"), head, ...rows.map((row) => row.box));
  /** Show both networks' probabilities, and that they are the same: by numbers, not by decree. */
  const show = (then, now, chosen, text = (p) => p.toFixed(2)) => {
    const most = Math.max(...then, ...now);
    say(head.children[1], Math.max(...then.map((p, c) => Math.abs(p - now[c]))) < 5e-5 ? "=" : "≠");
    rows.forEach(({ radio, p, box: row }, c) => {
      [then, now].forEach((all, n) => {
        row.style.setProperty(n ? "--b" : "--a", (all[c] / most).toFixed(4));
        say(p[n], text(all[c]));
      });
      radio.checked = c === chosen;
    });
  };
  return { box, rows, show };
}

export const LOOK = `
.zero-explorer { container-type: inline-size; margin: 1.2rem 0; font-size: .95rem; line-height: 1.4; color: inherit;
  --line: color-mix(in srgb, currentColor 22%, transparent); --faint: color-mix(in srgb, currentColor 8%, transparent); }
.zero-explorer :is(button, select, input) { font: inherit; color: inherit; }
.zero-explorer :is(button, select, input, canvas, a):focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
.zero-explorer :is(.zx-steps, .zx-buttons) { display: flex; flex-wrap: wrap; gap: .4rem; margin: 0 0 .7rem; }
.zero-explorer button { flex: 0 0 auto; min-height: 2.3rem; padding: .2rem .8rem; border: 1px solid var(--line); border-radius: 2rem;
  background: transparent; cursor: pointer; }
.zero-explorer button:hover { background: var(--faint); }
.zero-explorer button[aria-pressed=true] { background: color-mix(in srgb, currentColor 14%, transparent); border-color: currentColor; font-weight: 600; }
.zero-explorer figure { margin: 0; padding: 0; min-width: 0; }
.zero-explorer :is(canvas, img) { display: block; width: 100%; height: auto; background: #fff; border-radius: 4px; filter: none;
  box-shadow: 0 0 0 1px var(--line); }
.zero-explorer figcaption { margin: .2rem 0 .5rem; padding: 0; font-size: .84rem; line-height: 1.3; text-align: left; color: inherit; }
.zx-name { display: block; margin: 0 0 .3rem; font-size: .95rem; line-height: 1.3; font-weight: 600; }
.zx-scale { display: grid; grid-template-columns: auto 1fr auto; gap: .5rem; align-items: center; margin: .1rem 0 .9rem; font-size: .84rem; font-variant-numeric: tabular-nums; }
.zx-scale i { position: relative; height: .6rem; border-radius: 2px; box-shadow: 0 0 0 1px var(--line); background: linear-gradient(90deg, STOPS); }
.zx-scale i::after { content: ""; position: absolute; inset: -.15rem auto -.15rem 50%; border-left: 1.5px dashed #222; }
.zero-explorer fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
.zero-explorer legend { float: none; width: auto; margin: 0 0 .2rem; padding: 0; font-size: .84rem; font-weight: 600; line-height: 1.3; }
.zx-equal { display: grid; grid-template-columns: 1fr auto 1fr; padding: 0 .3rem; font-size: .95rem; }
.zx-equal b:last-child { text-align: right; }
.zx-equal i { font: 700 1.2rem/1 inherit; font-style: normal; }
.zx-class { position: relative; display: grid; grid-template-columns: 3em auto 1fr 3em; gap: .35rem; align-items: center; min-height: 1.8rem;
  margin: 0; padding: 0 .3rem .3rem; font-size: .84rem; cursor: pointer; font-variant-numeric: tabular-nums; background: linear-gradient(color-mix(in srgb, currentColor 12%, transparent) 0 0) 0 calc(100% - .12rem) / 100% .26rem no-repeat; }
.zx-class::before, .zx-class::after { content: ""; position: absolute; bottom: .12rem; height: .26rem; background: color-mix(in srgb, currentColor 62%, transparent); }
.zx-class::before { right: 50%; width: calc(50% * var(--a, 0)); border-radius: 2px 0 0 2px; }
.zx-class::after { left: 50%; width: calc(50% * var(--b, 0)); border-radius: 0 2px 2px 0; }
.zx-class input { margin: 0; accent-color: currentColor; }
.zx-class span:not(.zx-number) { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.zx-number:last-child { text-align: right; }
.zx-class:has(:checked) { font-weight: 600; }
.zx-live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.zx-foot { display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; align-items: center; font-size: .88rem; }
@media (prefers-reduced-motion: no-preference) { .zx-class::before, .zx-class::after { transition: width .2s; } }
@media print {
  .zero-explorer :is(.zx-steps, .zx-buttons, .zx-controls, .zx-foot, .zx-more, .zw-tools) { display: none !important; }
  .zero-explorer, .zx-frame { break-inside: avoid; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}`;
