// The explorable.  One module without dependencies: `compute` is the mathematics and touches no
// page; the rest draws it.  Letters as in zerocam: features A (D, h, w), head W (C, D) and b,
// channel weights alpha, reference r, signed map M, drawn map L.  Data: explorer.json.

const REWRITE = { shift: 0, flip: 0, mix: 0, soft: 0, labels: 1 };

// ---- The mathematics ---------------------------------------------------------------------------

const decoded = new WeakMap();

/** The arrays of an example as Float64Array, from base64 of little-endian float32. */
export function decode(example) {
  if (decoded.has(example)) return decoded.get(example);
  const floats = ([, text]) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  };
  const [D, h, w] = example.A[0], arrays = { D, h, w, Z: h * w, C: example.classes.length };
  for (const name of ["A", "W", "b", "T", "V", "mean", "blank"]) arrays[name] = floats(example[name]);
  decoded.set(example, arrays);
  return arrays;
}

/** metrics.normalise of the package. */
export function normalise(M, how) {
  const low = Math.min(...M), high = Math.max(...M);
  if (how === "max") return M.map((v) => (high > 0 ? v / high : 0));
  if (how === "minmax") return M.map((v) => (v - low) / (high > low ? high - low : 1));
  return M;
}

/** Everything that follows from a state: the re-coded network, its predictions, its maps. */
export function compute(state, data) {
  const s = { ...data.start, ...state }, e = decode(data.examples[s.example]);
  const { D, Z, C } = e, sign = (k) => (k < s.flip ? -1 : 1);
  const t = Array.from({ length: D }, (_, k) => s.shift * e.T[s.along * D + k]);
  // A' = Q (A + t): each channel takes in `mix` of the next, then the first `flip` change sign.
  const recode = (F, n) => F.map((v, i) => {
    const k = Math.floor(i / n), next = k + 1 < D ? s.mix * (F[i + n] + t[k + 1]) : 0;
    return sign(k) * (v + t[k] + next);
  });
  // W' = (W + 1 v^T) Q^-1,  b' = b - (W + 1 v^T) t;  minus one-hot labels turn both over.
  const W = new Float64Array(C * D), b = new Float64Array(C), v = (s.soft > 0 ? D : 0);
  for (let c = 0; c < C; c++) {
    b[c] = s.labels * e.b[c];
    for (let k = 0, before = 0; k < D; k++) {
      const row = s.labels * (e.W[c * D + k] + Math.abs(s.soft) * e.V[v + k]);
      b[c] -= row * t[k];
      before = row - s.mix * before;
      W[c * D + k] = sign(k) * before;
    }
  }
  const A = recode(e.A, Z), mean = new Float64Array(D);
  A.forEach((a, i) => (mean[Math.floor(i / Z)] += a / Z));
  const y = Array.from(b, (bias, c) => mean.reduce((sum, m, k) => sum + W[c * D + k] * m, bias));
  const top = Math.max(...y.map((value) => s.labels * value));
  const odds = y.map((value) => Math.exp(s.labels * value - top)), total = odds.reduce((p, q) => p + q);
  const p = odds.map((odd) => odd / total);
  // ds/dA of s = y_c, or of y_c - mean_d y_d, below an average: the same at every position.
  const alpha = new Float64Array(D);
  for (let k = 0; k < D; k++) {
    alpha[k] = W[s.class * D + k] / Z;
    if (s.target === "centred") for (let c = 0; c < C; c++) alpha[k] -= W[c * D + k] / C / Z;
  }
  const r = { zero: () => null, spatial: () => mean, data: () => recode(e.mean, 1), blank: () => recode(e.blank, Z) }[s.reference]();
  const M = new Float64Array(Z);
  for (let i = 0; i < D * Z; i++) {
    const k = Math.floor(i / Z), zero = r === null ? 0 : r.length === D ? r[k] : r[i];
    M[i % Z] += alpha[k] * (A[i] - zero);
  }
  const L = normalise(s.relu ? M.map((m) => Math.max(m, 0)) : M, s.scale);
  return { A, W, b, y, p, alpha, M, L };
}

/** What a re-coding did, compared with the network as trained and read in the same way. */
export function compare(state, data) {
  const now = compute(state, data), then = compute({ ...state, ...REWRITE }, data);
  const size = Math.max(...now.M.map(Math.abs), ...then.M.map(Math.abs)), small = 1e-6 * size || 1e-12;
  const change = now.M.map((m, i) => m - then.M[i]), low = Math.min(...change), high = Math.max(...change);
  const still = Math.max(-low, high) <= small, even = high - low <= small;
  const turned = !even && now.M.every((m, i) => Math.abs(m + then.M[i]) <= small);
  const order = [...then.M.keys()].sort((i, j) => then.M[i] - then.M[j]);
  const steps = order.slice(1).map((i, n) => now.M[i] - now.M[order[n]]);
  return {
    now, then, low, high, size,
    predictions: Math.max(...now.p.map((p, c) => Math.abs(p - then.p[c]))),
    map: still ? "still" : even ? "constant" : turned ? "turned" : "field",
    order: steps.every((d) => d >= -small) ? "kept" : steps.every((d) => d <= small) ? "reversed" : "changed",
    above: now.L.filter((v) => v > 1e-9).length,
  };
}

/** The colour of a value: white is zero, `limit` the darkest red. */
export function colour(value, limit, colours) {
  const x = 3 + 3 * Math.max(-1, Math.min(1, limit ? value / limit : 0)), i = Math.min(5, Math.floor(x));
  const channel = (n, at) => parseInt(colours[n].slice(at, at + 2), 16);
  return [1, 3, 5].map((at) => Math.round(channel(i, at) + (x - i) * (channel(i + 1, at) - channel(i, at))));
}

// ---- The state in the address ------------------------------------------------------------------

const RANGES = { shift: [-1.5, 1.5, 0.01], flip: [0, 32, 1], mix: [0, 1, 0.05], soft: [-1, 1, 0.01] };
const CHOICES = {
  example: { photo: "a cat and a coffee", digits: "a two and a seven", threes: "four threes" },
  labels: { 1: "one-hot", "-1": "minus one-hot" },
  target: { logit: "the score", centred: "the score above the average class" },
  reference: { zero: "an activation of zero", spatial: "the mean of this picture", data: "the mean of other pictures", blank: "a blank picture" },
  scale: { none: "as it is", max: "divided by its maximum", minmax: "from lowest to highest" },
};
const FIRST = { photo: 4, digits: 2, threes: 3 };

/** The state in which an example opens. */
function opening(example, data) {
  return { ...data.start, example, class: FIRST[example], along: FIRST[example] + 1 };
}

/** A state as text for the address: what differs from the start. */
export function write(state, data) {
  const text = new URLSearchParams(), names = data.examples[state.example].classes;
  const usual = { ...opening(state.example, data), example: data.start.example };
  for (const [key, value] of Object.entries(state)) {
    if (value === usual[key]) continue;
    text.set(key, key === "class" ? names[value] : key === "along" ? (value ? names[value - 1] : "all") : String(value));
  }
  return text.toString();
}

/** The state that a text describes; what it cannot read stays as at the start. */
export function read(text, data) {
  const given = new URLSearchParams(text), wanted = given.get("example");
  const state = opening(wanted in data.examples ? wanted : data.start.example, data);
  const names = data.examples[state.example].classes;
  for (const [key, value] of given) {
    if (key in RANGES && value.trim() && isFinite(value)) {
      state[key] = Math.max(RANGES[key][0], Math.min(RANGES[key][1], Number(value)));
    } else if (key in CHOICES && value in CHOICES[key]) state[key] = key === "labels" ? Number(value) : value;
    else if (["relu", "smooth"].includes(key)) state[key] = value === "true";
    else if (key === "class" && names.includes(value)) state.class = names.indexOf(value);
    else if (key === "along") state.along = names.indexOf(value) + 1;
  }
  state.flip = Math.min(Math.round(state.flip), data.examples[state.example].A[0][0]);
  return state;
}

// ---- The page ----------------------------------------------------------------------------------

const LEAD = {
  start: ["shift"], shift: ["shift", "along"], mix: ["flip", "mix"], softmax: ["soft"],
  relu: ["relu", "scale"], reference: ["reference", "target", "shift", "soft"],
};
const STYLE = `
.zero-explorer { container-type: inline-size; margin: 1.2rem 0; font-size: .95rem; line-height: 1.4; color: inherit;
  --line: color-mix(in srgb, currentColor 22%, transparent); --faint: color-mix(in srgb, currentColor 8%, transparent); }
.zero-explorer :is(button, select, input) { font: inherit; color: inherit; }
.zero-explorer :is(button, select, input, summary):focus-visible { outline: 2px solid currentColor; outline-offset: 2px; }
.zx-steps { display: flex; flex-wrap: wrap; gap: .4rem; margin: 0 0 .8rem; }
.zx-steps button, .zx-more { flex: 1 0 auto; min-height: 2.3rem; padding: .2rem .8rem; border: 1px solid var(--line); border-radius: 2rem;
  background: transparent; cursor: pointer; }
.zx-steps button:hover, .zx-more:hover { background: var(--faint); }
.zx-steps button[aria-pressed=true] { background: color-mix(in srgb, currentColor 14%, transparent); border-color: currentColor; font-weight: 600; }
.zx-says { min-height: 2.8em; margin: 0 0 .8rem; text-wrap: pretty; }
.zx-grid { display: grid; grid-template-columns: 1fr 1fr; gap: .9rem .9rem; align-items: start; }
.zx-grid figure { margin: 0; padding: 0; min-width: 0; }
.zero-explorer canvas, .zx-grid img { display: block; width: 100%; height: auto; background: #fff; border-radius: 4px; filter: none;
  box-shadow: 0 0 0 1px var(--line); }
.zx-bare .zx-maps canvas, .zx-square img, .zx-inside canvas { image-rendering: pixelated; }
.zero-explorer figcaption { margin: .35rem 0 0; padding: 0; font-size: .84rem; line-height: 1.35; text-align: left; color: inherit; }
.zx-scale { display: grid; grid-template-columns: auto 1fr auto; gap: .4rem; align-items: center; font-variant-numeric: tabular-nums; }
.zx-scale i { height: .5rem; border-radius: 2px; box-shadow: 0 0 0 1px var(--line); background: linear-gradient(90deg, STOPS); }
.zero-explorer fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
.zero-explorer legend { float: none; width: auto; margin: 0 0 .3rem; padding: 0; font-size: .84rem; font-weight: 600; line-height: 1.35; }
.zx-class { position: relative; display: grid; grid-template-columns: auto 1fr auto; gap: .35rem; align-items: center; min-height: 1.55rem;
  margin: 0; padding: 0 .35rem; font-size: .84rem; cursor: pointer; font-variant-numeric: tabular-nums;
  background: linear-gradient(var(--bar, currentColor) 0 0) no-repeat 0 / var(--p, 0) 100%; --bar: color-mix(in srgb, currentColor 20%, transparent); }
.zx-class input { margin: 0; accent-color: currentColor; }
.zx-class span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.zx-class:has(:checked) { font-weight: 600; }
.zero-explorer ul.zx-tiles { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; margin: 1rem 0 !important; padding: 0 !important; }
.zero-explorer .zx-tiles li { list-style: none !important; margin: 0; padding: .5rem .7rem; border-radius: 6px; background: var(--faint); font-size: .84rem; line-height: 1.3; }
.zx-tiles b { display: block; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.zx-open .zx-control * { scroll-margin-top: calc(26cqw + 8rem); }
.zx-controls { display: grid; grid-template-columns: 1fr; gap: .2rem 1.6rem; margin: .3rem 0 1rem; }
.zx-controls > .zx-kind { margin: .6rem 0 0; font-size: .84rem; font-weight: 600; grid-column: 1 / -1; }
.zx-control { display: grid; grid-template-columns: 1fr auto; gap: 0 .6rem; align-items: center; min-height: 2.4rem; margin: 0; }
.zx-control output { font-variant-numeric: tabular-nums; text-align: right; font-weight: 600; }
.zx-control input[type=range] { grid-column: 1 / -1; width: 100%; height: 1.7rem; margin: 0; accent-color: currentColor; cursor: pointer; touch-action: pan-y; }
.zx-control input[type=checkbox] { width: 1.3rem; height: 1.3rem; accent-color: currentColor; }
.zx-control select { max-width: min(17.5rem, 66cqw); min-height: 2.2rem; padding: .1rem .4rem; border: 1px solid var(--line); border-radius: 6px; background: transparent; }
.zx-control select option { color: #222; background: #fff; }
.zero-explorer:not(.zx-open) :is(.zx-control, .zx-inside):not([data-lead]), .zero-explorer:not(.zx-open) .zx-kind { display: none; }
.zx-maps { padding: .4rem 0; }
.zx-open .zx-maps { position: sticky; top: var(--pst-header-height, 0px); z-index: 3; background: var(--pst-color-background, var(--jp-layout-color0, Canvas)); }
.zx-inside { margin: 1rem 0; }
.zx-inside > div { display: grid; grid-template-columns: repeat(6, 1fr); gap: .5rem; margin-top: .35rem; }
.zx-inside span { display: block; font-size: .78rem; text-align: center; font-variant-numeric: tabular-nums; }
.zx-foot { display: flex; flex-wrap: wrap; gap: .6rem 1.2rem; align-items: center; font-size: .88rem; }
.zx-more { flex: 0 0 auto; }
.zx-live { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@container (min-width: 34rem) {
  .zx-says { min-height: 1.4em; }
  .zero-explorer ul.zx-tiles { grid-template-columns: repeat(4, 1fr); }
  .zx-controls { grid-template-columns: 1fr 1fr; }
  .zx-square .zx-grid { grid-template-columns: minmax(0, 14rem) 1fr; }
  .zx-square .zx-maps { grid-template-columns: repeat(2, minmax(0, 14rem)); }
}
@media (prefers-reduced-motion: no-preference) { .zx-class { transition: background-size .2s; } }
@media print {
  .zx-steps, .zx-controls, .zx-foot { display: none !important; }
  .zero-explorer, .zx-grid, .zx-tiles { break-inside: avoid; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}`;

const SHORT = { shift: "Shift", flip: "Channels with their sign turned", mix: "Mixed with the next channel", soft: "Extra weights, the same for each class", labels: "Labels" };
const LABEL = {
  ...SHORT, along: "The shift lifts", target: "Explain", reference: "Zero is", scale: "Draw the map",
  relu: "Keep only what is above zero (ReLU)", smooth: "Smooth, over the picture", example: "Picture",
};
const number = (v, digits = 2) => (Math.abs(v) < 0.5 * 10 ** -digits ? 0 : v).toFixed(digits).replace("-", "−");

/** Write a text or an attribute where it differs: layout is dear. */
const say = (target, text) => target.textContent === text || (target.textContent = text);
const label = (target, text, name = "aria-label") => target.getAttribute(name) === text || target.setAttribute(name, text);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Draw the explorable into an element; gives a handle to read, set and redraw it. */
export function mount(root, data) {
  if (!document.getElementById("zero-explorer-style")) {
    const style = element("style", { id: "zero-explorer-style" });
    style.textContent = STYLE.replace("STOPS", data.colours.join(","));
    document.head.append(style);
  }
  const uid = `zx${Math.random().toString(36).slice(2, 8)}`, full = root.dataset.full === "1";
  const preset = (name) => ({ ...data.start, ...data.presets[name].state });
  let step = root.dataset.preset ?? "start", state = root.dataset.at ? read(root.dataset.at, data) : preset(step), waiting = 0, moving = 0, said = 0, shown = "", radios = [];
  root.replaceChildren();
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Explorable: move the zero of a heatmap");
  root.classList.toggle("zx-open", full);

  // Steps, and the sentence of each.
  const steps = element("div", { class: "zx-steps", role: "group", "aria-label": "Steps of the story" });
  const says = element("p", { class: "zx-says" }), buttons = {};
  Object.entries(data.presets).forEach(([name, { title }], n) => {
    const button = buttons[name] = element("button", { type: "button" }, n ? `${n} ${title}` : title);
    button.addEventListener("click", () => go(name));
    steps.append(button);
  });

  // Controls.
  const controls = element("div", { class: "zx-controls" }), inputs = {}, outputs = {};
  const control = (key, input) => {
    const box = element("label", { class: "zx-control", "data-key": key }, element("span", {}, LABEL[key]));
    if (key in RANGES) box.append(outputs[key] = element("output"));
    box.append(inputs[key] = input);
    input.addEventListener("input", () => {
      const raw = input.type === "checkbox" ? input.checked : input.value;
      change({ [key]: key in RANGES || ["along", "labels"].includes(key) ? Number(raw) : raw });
    });
    controls.append(box);
  };
  const range = (key) => {
    const [min, max, step] = RANGES[key];
    control(key, element("input", { type: "range", min, max, step }));
  };
  const select = (key) => control(key, element("select", {}, ...Object.entries(CHOICES[key] ?? {}).map(([value, text]) => element("option", { value }, text))));
  const check = (key) => control(key, element("input", { type: "checkbox" }));
  const kind = (text) => controls.append(element("p", { class: "zx-kind" }, text));
  kind("Re-code the network: no prediction may move");
  ["shift", "along", "flip", "mix", "soft", "labels"].forEach((key) => (key in RANGES ? range : select)(key));
  kind("Read the map: the network stays as it is");
  ["target", "reference", "scale", "example"].forEach(select);
  ["relu", "smooth"].forEach(check);

  // Pictures.
  const figure = (canvas, ...text) => element("figure", {}, canvas, element("figcaption", {}, ...text));
  const canvas = () => element("canvas", { role: "img" });
  const signed = canvas(), drawn = canvas(), picture = element("img", { alt: "" });
  const captions = [element("span"), element("span"), element("span")];
  const bars = [0, 1].map(() => [element("span"), element("i"), element("span")]);
  const scale = (n) => element("span", { class: "zx-scale" }, ...bars[n]);
  const classes = element("fieldset", { class: "zx-classes" });
  const grid = element("div", { class: "zx-grid zx-maps" }, figure(signed, scale(0), captions[0]), figure(drawn, scale(1), captions[1]));
  const sources = element("div", { class: "zx-grid" }, figure(picture, captions[2]), classes);
  const tiles = element("ul", { class: "zx-tiles" }, ...Array.from({ length: 4 }, () => element("li", {}, element("b"), element("span")))), inside = element("div", {}, ...Array.from({ length: 6 }, () => element("div", {}, element("canvas", { role: "img" }), element("span")))), live = element("p", { class: "zx-live", "aria-live": "polite" });
  const insideBox = element("div", { class: "zx-inside" }, element("strong", { class: "zx-head" }, "Inside: six channels, and what each weighs"), inside);

  // Foot.
  const more = element("button", { type: "button", class: "zx-more", "aria-expanded": String(full) }, full ? "Fewer controls" : "All controls");
  more.addEventListener("click", () => {
    const open = root.classList.toggle("zx-open");
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "Fewer controls" : "All controls";
  });
  const foot = element("div", { class: "zx-foot" }, more), base = document.documentElement.dataset.content_root;
  const link = base === undefined || full ? null : element("a", { href: `${base}book/explorer.html` }, "Open this on its own page");
  if (link) foot.append(link);
  root.append(steps, says, grid, controls, sources, tiles, insideBox, foot, live);

  // Pictures made grey, for maps to lie on.
  const grey = {};
  const load = async (name) => {
    const image = new Image();
    image.src = data.examples[name].picture;
    await image.decode();
    const small = image.naturalWidth < 100, zoom = small ? 6 : 1;
    const made = element("canvas", { width: zoom * image.naturalWidth, height: zoom * image.naturalHeight }), pen = made.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, 0, 0, made.width, made.height);
    const pixels = pen.getImageData(0, 0, made.width, made.height), d = pixels.data;
    for (let i = 0; i < d.length; i += 4) d[i] = d[i + 1] = d[i + 2] = 89 + 0.65 * ((d[i] + d[i + 1] + d[i + 2]) / 3);
    pen.putImageData(pixels, 0, 0);
    grey[name] = made;
    render();
  };

  const cell = element("canvas"), shades = Array.from({ length: 513 }, (_, i) => colour(i / 256 - 1, 1, data.colours));
  const resize = (target, width, height) => {
    if (target.width !== width) target.width = width;
    if (target.height !== height) target.height = height;
    return target.getContext("2d");
  };
  function paint(target, values, h, w, limit, under) {
    const pen = resize(cell, w, h), pixels = pen.createImageData(w, h);
    values.forEach((v, i) => {
      const x = Math.max(-1, Math.min(1, limit ? v / limit : 0));
      pixels.data.set(shades[Math.round(256 * (x + 1))], 4 * i);
      pixels.data[4 * i + 3] = under ? 217 * Math.abs(x) : 255;
    });
    pen.putImageData(pixels, 0, 0);
    const brush = resize(target, under ? under.width : w, under ? under.height : h);
    if (under) brush.drawImage(under, 0, 0);
    brush.imageSmoothingEnabled = Boolean(under);
    brush.drawImage(cell, 0, 0, target.width, target.height);
  }

  function render() {
    const s = state, example = data.examples[s.example], { D, h, w, Z } = decode(example);
    const seen = compare(s, data), { now, then } = seen, name = example.classes[s.class];
    if (!(s.example in grey)) { grey[s.example] = null; load(s.example); }
    const under = s.smooth ? grey[s.example] : null;
    root.classList.toggle("zx-square", h === w);
    root.classList.toggle("zx-bare", !s.smooth);

    // Steps and controls.
    for (const [key, button] of Object.entries(buttons)) label(button, String(key === step), "aria-pressed");
    say(says, step ? data.presets[step].says : "Your own setting.");
    if (shown !== s.example) {
      shown = s.example;
      inputs.along.replaceChildren(...["all channels alike", ...example.classes.map((c) => `only the map of “${c}”`)].map((text, value) => element("option", { value }, text)));
      inputs.flip.max = D;
      radios = example.classes.map((text, c) => {
        const radio = element("input", { type: "radio", name: `${uid}-class`, value: c }), p = element("output");
        radio.addEventListener("input", () => change({ class: c }));
        return { radio, p, box: element("label", { class: "zx-class" }, radio, element("span", {}, text), p) };
      });
      classes.replaceChildren(element("legend", {}, "Explain a class; its probability"), ...radios.map(({ box }) => box));
      picture.src = example.picture;
      picture.alt = example.title;
    }
    for (const [key, input] of Object.entries(inputs)) {
      if (input.type === "checkbox") input.checked = s[key];
      else if (input.value !== String(s[key])) input.value = s[key];
      input.parentElement.toggleAttribute("data-lead", LEAD[step || "start"].includes(key));
    }
    const texts = { shift: number(s.shift), flip: `${s.flip} of ${D}`, mix: number(s.mix), soft: number(s.soft) };
    for (const [key, text] of Object.entries(texts)) {
      say(outputs[key], text);
      label(inputs[key], text, "aria-valuetext");
    }
    radios.forEach(({ radio, p, box }, c) => {
      box.style.setProperty("--p", `${(100 * now.p[c]).toFixed(2)}%`);
      radio.checked = c === s.class;
      say(p, now.p[c].toFixed(2));
    });

    // Maps: one scale for both, unless the drawn one is scaled.
    const limits = [seen.size, s.scale === "none" ? seen.size : 1];
    paint(signed, now.M, h, w, limits[0], under);
    paint(drawn, now.L, h, w, limits[1], under);
    bars.forEach((bar, n) => { say(bar[0], number(-limits[n])); say(bar[2], number(limits[n])); });
    const ends = (V) => `${number(Math.min(...V))} to ${number(Math.max(...V))}`;
    const positive = now.M.filter((v) => v > 1e-9).length, percent = (n) => `${Math.round((100 * n) / Z)} %`;
    const covers = seen.above === 0 ? "blank" : seen.above === Z ? "full" : `${seen.above} of ${Z} positions above zero`;
    const scaled = { none: "", max: ", divided by its maximum", minmax: ", scaled from lowest to highest" }[s.scale];
    say(captions[0], `Signed map of “${name}”: ${ends(now.M)}`);
    say(captions[1], `${s.relu ? "Grad-CAM" : "Without ReLU"}${scaled}: ${covers}`);
    say(captions[2], `The picture: ${example.title}`);
    label(signed, `Signed map of ${name}: from ${ends(now.M)}, ${positive} of ${Z} positions above zero.`);
    label(drawn, `Map as drawn, ${s.relu ? "with" : "without"} ReLU${scaled}: from ${ends(now.L)}, ${covers}.`);

    // What holds.
    const moved = {
      still: [true, number(0), "change of the signed map"],
      constant: [false, number(seen.low), "change of the signed map: one constant"],
      turned: [false, "turned", "the signed map: every sign is the opposite"],
      field: [false, `${number(seen.low)} to ${number(seen.high)}`, "change of the signed map: a field"],
    }[seen.map];
    const before = then.L.filter((v) => v > 1e-9).length;
    [
      [seen.predictions < 5e-5, seen.predictions.toFixed(4), "largest change of a probability"],
      moved,
      [seen.order === "kept", seen.order, "order of the positions"],
      [seen.above === before, percent(seen.above), `drawn above zero; as trained ${percent(before)}`],
    ].forEach(([held, value, text], n) => {
      say(tiles.children[n].firstChild, `${held ? "✓" : "≠"} ${value}`);
      say(tiles.children[n].lastChild, text);
    });

    // Channels.
    insideBox.toggleAttribute("data-lead", step === "mix");
    if (insideBox.checkVisibility?.() ?? true) {
      const size = Math.max(...now.A.slice(0, 6 * Z).map(Math.abs));
      [...inside.children].forEach((box, k) => {
        const part = now.A.slice(k * Z, (k + 1) * Z), weight = number(1000 * now.alpha[k], 1);
        paint(box.firstChild, part, h, w, size, null);
        label(box.firstChild, `Channel ${k + 1}: from ${ends(part)}; weight ${weight} thousandths.`);
        say(box.lastChild, `× ${weight}`);
      });
    }

    clearTimeout(said);
    said = setTimeout(() => {
      say(live, `Predictions moved by ${seen.predictions.toFixed(4)}. ${captions[0].textContent}. ${captions[1].textContent}. Order of the positions: ${seen.order}.`);
      const text = write(state, data);
      if (link) link.href = `${base}book/explorer.html#${text}`;
      if (full && (text || location.hash.includes("="))) history.replaceState(null, "", `#${text}`);
    }, 300);
  }

  function schedule() {
    waiting ||= requestAnimationFrame(() => { waiting = 0; render(); });
  }
  function change(part) {
    if (part.example) {
      part = { ...part, class: FIRST[part.example], along: FIRST[part.example] + 1 };
      part.flip = Math.min(state.flip, data.examples[part.example].A[0][0]);
    }
    cancelAnimationFrame(moving);
    moving = 0;
    state = { ...state, ...part };
    schedule();
  }
  /** To a step; sliders glide there, unless motion is unwanted or the picture changes. */
  function go(name) {
    const from = state, to = preset(name), glide = ["shift", "mix", "soft", "flip"], began = performance.now();
    step = name;
    cancelAnimationFrame(moving);
    moving = 0;
    if (from.example !== to.example || matchMedia("(prefers-reduced-motion: reduce)").matches) { state = to; return schedule(); }
    const frame = (time) => {
      const x = Math.min(1, Math.max(0, (time - began) / 700)), ease = x * x * (3 - 2 * x);
      state = { ...to };
      for (const key of glide) state[key] = from[key] + ease * (to[key] - from[key]);
      if (from.shift && !to.shift) state.along = x < 1 ? from.along : to.along;
      state.flip = Math.round(state.flip);
      moving = x < 1 ? requestAnimationFrame(frame) : 0;
      render();
    };
    moving = requestAnimationFrame(frame);
  }
  function fromAddress() {
    if (!location.hash.includes("=")) return;
    state = read(location.hash.slice(1), data);
    step = Object.keys(data.presets).find((name) => write(preset(name), data) === write(state, data)) ?? "";
    schedule();
  }
  if (full) { addEventListener("hashchange", fromAddress); fromAddress(); }
  render();
  root.dataset.ready = "1";
  root.explorer = {
    get state() { return state; },
    set(next) { state = { ...data.start, ...next }; step = ""; render(); },
    go, render, data,
  };
  return root.explorer;
}

/** Draw every explorable of the page that is not drawn yet, when it comes near, or before printing. */
export function mountAll(data) {
  const waiting = [...document.querySelectorAll(".zero-explorer:not([data-ready])")];
  const draw = (root) => root.dataset.ready || mount(root, data);
  if (!window.IntersectionObserver) return waiting.forEach(draw);
  const near = new IntersectionObserver((seen) => seen.filter((s) => s.isIntersecting).forEach((s) => {
    near.unobserve(s.target);
    draw(s.target);
  }), { rootMargin: "50%" });
  waiting.forEach((root) => near.observe(root));
  addEventListener("beforeprint", () => waiting.forEach(draw));
}
