// The explorable: network A as it was trained, network B re-coded, and what they draw.  `compute` is
// the mathematics and touches no page; the rest draws it.  Letters as in zerocam: features A (D, h,
// w), head W (C, D) and b, channel weights alpha, reference r, signed map M, drawn map L.  Data:
// explorer.json.
import { address, backdrop, chart, colour, dress, element, given, label, LOOK, number, outline, painter, say, zeroLine } from "./drawing.js";
export { colour };

const REWRITE = { shift: 0, turn: false, flip: 0, mix: 0, soft: 0, labels: 1, places: 0 };

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
  for (const name of ["A", "W", "b", "T", "U", "V", "mean", "blank"]) arrays[name] = floats(example[name]);
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
  const { D, Z, C, w } = e, sign = (k) => (k < s.flip ? -1 : 1);
  // Both are shifts: the one to a class's map, by default of the class that is explained; and on for
  // off, 6 - a in some channels, which is -a, and no map sees that, of a - 6.
  const along = s.along < 0 ? s.class + 1 : s.along;
  const t = Array.from({ length: D }, (_, k) => s.shift * e.T[along * D + k] + (s.turn ? e.U[s.class * D + k] : 0));
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
  const place = (F) => F.map((_, i) => F[i - (i % w) + ((i % w) + w - (s.places % w)) % w]); // columns, round the edge
  const A = place(recode(e.A, Z)), mean = new Float64Array(D);
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
  const r = { zero: () => null, spatial: () => mean, local: () => mean, data: () => recode(e.mean, 1), blank: () => place(recode(e.blank, Z)) }[s.reference]();
  const M = new Float64Array(Z);
  for (let i = 0; i < D * Z; i++) {
    const k = Math.floor(i / Z), zero = r === null ? 0 : r.length === D ? r[k] : r[i];
    M[i % Z] += alpha[k] * (A[i] - zero);
  }
  if (s.reference === "local") { // the local score: what is explained, shared out
    const said = y[s.class] - (s.target === "centred" ? y.reduce((a, v) => a + v) / C : 0);
    M.forEach((m, i) => (M[i] = m + said / Z));
  }
  const L = normalise(s.relu ? M.map((m) => Math.max(m, 0)) : M, s.scale);
  return { A, W, b, y, p, alpha, M, L };
}

/** The colour scale of an example: the largest value of any listed class's map, as trained. */
export function limitOf(example, data) {
  const e = decode(data.examples[example]);
  return (e.limit ??= Math.max(...data.examples[example].classes.flatMap((_, c) => [...compute({ example, class: c }, data).M].map(Math.abs))));
}

const CUT = 0.15; // of the maximum: the Grad-CAM paper draws its box round what is above

/** What a re-coding did: network B, compared with A, the one that was trained, read in the same way. */
export function compare(state, data) {
  const now = compute(state, data), then = compute({ ...state, ...REWRITE }, data);
  const size = Math.max(...now.M.map(Math.abs), ...then.M.map(Math.abs)), small = 1e-6 * size || 1e-12;
  const change = now.M.map((m, i) => m - then.M[i]), low = Math.min(...change), high = Math.max(...change);
  const still = Math.max(-low, high) <= small, even = high - low <= small;
  const turned = !even && now.M.every((m, i) => Math.abs(m + then.M[i]) <= small);
  const order = [...then.M.keys()].sort((i, j) => then.M[i] - then.M[j]);
  const steps = order.slice(1).map((i, n) => now.M[i] - now.M[order[n]]);
  const over = (L, least) => L.filter((v) => v > least).length;
  return {
    now, then, low, high, size,
    predictions: Math.max(...now.p.map((p, c) => Math.abs(p - then.p[c]))),
    map: still ? "still" : even ? "constant" : turned ? "turned" : "field",
    order: steps.every((d) => d >= -small) ? "kept" : steps.every((d) => d <= small) ? "reversed" : "changed",
    above: [then, now].map(({ L }) => over(L, 1e-6 * Math.max(...L.map(Math.abs)))),
    cut: [then, now].map(({ L, M }) => [over(normalise(M, "max"), CUT), over(L, CUT)]),
  };
}

const DONE = [
  ["turn", "has on and off exchanged in some channels"], ["shift", "has a constant added to its channels"],
  ["flip", "has channels with their sign turned"], ["mix", "has its channels mixed"],
  ["soft", "has extra weights that are the same for each class"], ["labels", "learned minus one-hot labels"],
  ["places", "has its columns moved"],
];

/** A number with two digits that count, or two decimals. */
const short = (v) => (Math.abs(v) < 0.1 && v ? Number(v.toPrecision(2)).toString().replace("-", "−") : number(v));

/** From one number to another, with as many decimals as tell the two apart. */
function between(low, high, text = number) {
  let digits = 2;
  while (text(low) === text(high) && digits++ < 7) text = (v) => number(v, digits);
  return `${text(low)} to ${text(high)}`;
}

/** What happened, in words that the numbers of `compare` choose. */
export function sentence(state, data, seen = compare(state, data)) {
  const s = { ...data.start, ...state }, { Z } = decode(data.examples[s.example]);
  const count = (n) => (n === 0 ? "none" : n === Z ? `all ${Z}` : String(n));
  const [inA, inB] = seen.above, done = DONE.filter(([key]) => s[key] !== REWRITE[key]).map(([, text]) => text);
  const last = done.length > 1 ? `, and ${done.pop()}` : "", what = done.length ? `Network B ${done.join(", ")}${last}. ` : "Network B is network A, as it was trained. ";
  const held = seen.predictions < 5e-5 ? "No probability moved." : `A probability moved by ${short(seen.predictions)}.`;
  const map = {
    still: "B's map is A's map.",
    constant: `B's map is A's map, ${seen.low < 0 ? "lowered" : "raised"} by ${short(Math.abs(seen.low))} at every position.`,
    turned: "B's map is A's map with every sign reversed.",
    field: `B's map is not A's map: it differs by ${between(seen.low, seen.high, short)}, another amount at other positions.`,
  }[seen.map];
  const drawn = ` Drawn above zero, of ${Z} positions: ${count(inA)} in A, ${count(inB)} in B.`;
  const box = s.scale === "none" ? "" : ` Outlined in B, above 15\u00a0% of the maximum: ${count(seen.cut[1][0])} in the signed map, ${count(seen.cut[1][1])} as drawn.`;
  return [what + held, map + drawn + box];
}

// ---- The state in the address ------------------------------------------------------------------

const RANGES = { shift: [-1.5, 1.5, 0.01], flip: [0, 32, 1], mix: [0, 1, 0.05], soft: [-1, 1, 0.01], places: [0, 13, 1] };
const CHOICES = {
  example: { photo: "a cat and a coffee", digits: "a two and a seven", threes: "four threes" },
  labels: { 1: "one-hot", "-1": "minus one-hot" },
  target: { logit: "the score", centred: "the score minus the mean score" },
  reference: { zero: "an activation of zero", spatial: "the mean of this picture", local: "a score of zero (local score)", data: "the mean of other pictures", blank: "a blank picture" },
  scale: { none: "as it is", max: "divided by its maximum", minmax: "from lowest to highest" },
};
const FIRST = { photo: 4, digits: 2, threes: 3 };

/** The state in which an example opens. */
function opening(example, data) {
  return { ...data.start, example, class: FIRST[example] };
}

/** A state as text for the address: what differs from the start. */
export function write(state, data) {
  const text = new URLSearchParams(), names = data.examples[state.example].classes;
  const usual = { ...opening(state.example, data), example: data.start.example };
  for (const [key, value] of Object.entries(state)) {
    if (value === usual[key]) continue;
    text.set(key, key === "class" ? names[value] : key === "along" ? (value > 0 ? names[value - 1] : value ? "class" : "all") : String(value));
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
    else if (["relu", "smooth", "turn"].includes(key)) state[key] = value === "true";
    else if (key === "class" && names.includes(value)) state.class = names.indexOf(value);
    else if (key === "along" && (value === "all" || names.includes(value))) state.along = names.indexOf(value) + 1;
  }
  state.places = Math.min(Math.round(state.places), data.examples[state.example].A[0][2] - 1);
  state.turn &&= data.examples[state.example].turns;
  state.flip = Math.min(Math.round(state.flip), data.examples[state.example].A[0][0]);
  return state;
}

// ---- The page ----------------------------------------------------------------------------------

const LEAD = {
  trained: ["shift"], shift: ["shift"], turn: ["turn"], mix: ["flip", "mix"], softmax: ["soft"],
  relu: ["relu", "scale"], reference: ["shift", "soft", "reference"],
};
const STYLE = `
.zx-says { min-height: 7.2em; margin: 0 0 .6rem; text-wrap: pretty; }
.zx-says :is(b, span) { display: block; }
.zx-maps { display: grid; grid-template-columns: 1fr 1fr; gap: 0 .7rem; padding: .4rem 0 0; }
.zx-bare .zx-maps canvas, .zx-inside canvas, .zx-ink img { image-rendering: pixelated; }
.zx-square .zx-maps canvas { aspect-ratio: 1; }
.zero-explorer .zx-source { display: grid; grid-template-columns: 5.5rem 1fr; gap: .6rem; align-items: center; margin: 0 0 .6rem; }
.zero-explorer .zx-source figcaption { margin: 0; }
.zx-lead:empty { display: none; }
.zx-p { float: right; font-size: .84rem; font-weight: 400; font-variant-numeric: tabular-nums; }
.zx-controls { display: grid; grid-template-columns: 1fr; gap: .2rem 1.6rem; margin: .2rem 0 .6rem; }
.zx-controls > .zx-kind { margin: .6rem 0 0; font-size: .84rem; font-weight: 600; grid-column: 1 / -1; }
.zx-control { display: grid; grid-template-columns: 1fr auto; gap: 0 .6rem; align-items: center; min-height: 2.4rem; margin: 0; }
.zx-control .zx-value { font-variant-numeric: tabular-nums; text-align: right; font-weight: 600; }
.zx-control input[type=range] { grid-column: 1 / -1; width: 100%; height: 1.7rem; margin: 0; accent-color: currentColor; cursor: pointer; touch-action: pan-y; }
.zx-control input[type=checkbox] { width: 1.5rem; height: 1.5rem; accent-color: currentColor; }
.zx-ends { grid-column: 1 / -1; display: flex; justify-content: space-between; gap: .6rem; font-size: .78rem; line-height: 1.2; }
.zx-control select { max-width: min(17.5rem, 66cqw); min-height: 2.2rem; padding: .1rem .4rem; border: 1px solid var(--line); border-radius: 6px; background: transparent; }
.zx-control select option { color: #222; background: #fff; }
.zx-control:has(:disabled) { opacity: .65; }
.zero-explorer:not(.zx-open) :is(.zx-rest, .zx-inside:not([data-lead])) { display: none; }
.zx-open :is(.zx-frame, .zx-maps) { background: var(--pst-color-background, var(--jp-layout-color0, Canvas)); z-index: 3; }
.zx-open .zx-maps { position: sticky; top: var(--zx-top, 0px); }
.zx-open .zx-control * { scroll-margin-top: calc(56cqw + 6rem); }
.zx-open.zx-square .zx-maps { position: static; }
.zx-frame { display: contents; }
.zero-explorer ul.zx-tiles { display: grid; grid-template-columns: 1fr 1fr; gap: .6rem; margin: .8rem 0 !important; padding: 0 !important; }
.zero-explorer .zx-tiles li { list-style: none !important; margin: 0; padding: .5rem .7rem; border-radius: 6px; background: var(--faint); font-size: .84rem; line-height: 1.3; }
.zx-tiles b { display: block; font-size: 1.1rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.zx-inside { margin: 1rem 0; }
.zx-inside > div { display: grid; grid-template-columns: 1.2rem repeat(6, 1fr); gap: .5rem; margin-top: .35rem; }
.zx-inside div span { display: block; font-size: .78rem; text-align: center; font-variant-numeric: tabular-nums; }
@container (max-width: 33.99rem) {
  .zx-all { display: flex; flex-direction: column; }
  .zx-mid { order: 1; }
  .zx-all > :is(.zx-inside, .zx-tiles, .zx-foot) { order: 2; }
  .zx-more { align-self: start; margin: 0 0 .7rem; }
  .zx-p { float: none; display: block; }
}
@container (min-width: 34rem) {
  .zx-says { min-height: 4.3em; }
  .zero-explorer ul.zx-tiles { grid-template-columns: repeat(4, 1fr); }
  .zx-frame .zx-p { display: none; }
  .zx-controls { grid-template-columns: 1fr 1fr; }
  .zx-maps { display: contents; }
  .zx-frame { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 13.5rem) minmax(0, 1fr); gap: 0 1rem; align-items: start; padding: .4rem 0 0; }
  .zx-frame > .zx-mid { grid-column: 2; grid-row: 1; }
  .zx-maps > :last-child { grid-column: 3; }
  .zx-open .zx-frame { position: sticky; top: var(--zx-top, 0px); }
  .zx-open.zx-square .zx-frame { position: static; }
  .zx-open:not(.zx-square) .zx-control * { scroll-margin-top: 26rem; }
}
@container (min-width: 34rem) and (max-width: 42rem) { .zx-frame { grid-template-columns: minmax(0, 1fr) minmax(0, 11.5rem) minmax(0, 1fr); gap: 0 .6rem; } }`;

const LABEL = {
  shift: "Shift", turn: "On for off in the channels that speak for the class (ReLU6)", flip: "Channels with their sign turned", mix: "Mixed with the next channel",
  soft: "Extra weights, the same for each class", labels: "Labels", places: "Columns moved to the right, round the edge",
  along: "The shift lifts", target: "Explain", reference: "Zero is", scale: "Draw the map",
  relu: "Keep only what is above zero (ReLU)", smooth: "Smooth, over the picture", example: "Picture",
};
const ENDS = { shift: ["lowered", "0", "lifted"], soft: ["all below zero", "0", "all above zero"], mix: ["as trained", "mixed"], flip: ["none", "all"], places: ["none", ""] };
const STRIDE = { shift: [0.1, 0.5], mix: [0.1, 0.5], soft: [0.1, 0.5], flip: [1, 8], places: [1, 5] }; // of an arrow key, of a page key
const KEYS = { ArrowRight: [0, 1], ArrowUp: [0, 1], ArrowLeft: [0, -1], ArrowDown: [0, -1], PageUp: [1, 1], PageDown: [1, -1] };

/** Draw the explorable into an element; gives a handle to read, set and redraw it. */
export function mount(root, data) {
  dress("zero-explorer-style", LOOK + STYLE, data.colours);
  const full = root.dataset.full === "1";
  const preset = (name) => ({ ...data.start, ...data.presets[name].state });
  const named = (wanted) => Object.keys(data.presets).find((name) => write(preset(name), data) === write(wanted, data)) ?? "";
  let state = root.dataset.at ? read(root.dataset.at, data) : preset(root.dataset.preset ?? "shift");
  let lead = root.dataset.preset ?? "shift", waiting = 0, moving = 0, goal = null, said = 0, shown = "", both = null;
  root.replaceChildren();
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Explorable: move the zero of a heatmap");
  root.classList.toggle("zx-open", full);

  // Steps, and the sentence of what happened.
  const steps = element("div", { class: "zx-steps", role: "group", "aria-label": "Steps of the story" }), buttons = {};
  const asks = element("b"), says = [element("span"), element("span")], text = element("p", { class: "zx-says" }, asks, ...says);
  Object.entries(data.presets).forEach(([name, { title }], n) => {
    const button = buttons[name] = element("button", { type: "button" }, n ? `${n} ${title}` : title);
    button.addEventListener("click", () => go(name));
    steps.append(button);
  });

  // Controls: those of the step, a button, all others.
  const first = element("div", { class: "zx-controls zx-lead" }), rest = element("div", { class: "zx-controls zx-rest" });
  const inputs = {}, outputs = {}, boxes = {}, home = {};
  const control = (key, input) => {
    const box = boxes[key] = element("label", { class: "zx-control", "data-key": key }, element("span", {}, LABEL[key]));
    if (key in RANGES) box.append(outputs[key] = element("span", { class: "zx-value", "aria-hidden": "true" }));
    box.append(inputs[key] = input);
    if (key in ENDS) box.append(element("span", { class: "zx-ends", "aria-hidden": "true" }, ...ENDS[key].map((end) => element("span", {}, end))));
    input.addEventListener("input", () => {
      const raw = input.type === "checkbox" ? input.checked : input.value;
      change({ [key]: key in RANGES || ["along", "labels"].includes(key) ? Number(raw) : raw });
    });
    rest.append(home[key] = element("i", { hidden: "" }), box);
  };
  const range = (key) => {
    const [min, max, step] = RANGES[key], input = element("input", { type: "range", min, max, step });
    control(key, input);
    input.addEventListener("keydown", (event) => {
      if (!(event.key in KEYS)) return; // Home and End are the browser's own
      const [size, way] = KEYS[event.key], to = Number(input.value) + way * STRIDE[key][size];
      event.preventDefault();
      input.value = Math.round(to * 100) / 100;
      input.dispatchEvent(new Event("input"));
    });
  };
  const select = (key) => control(key, element("select", {}, ...Object.entries(CHOICES[key] ?? {}).map(([value, name]) => element("option", { value }, name))));
  const check = (key) => control(key, element("input", { type: "checkbox" }));
  const kind = (name) => rest.append(element("p", { class: "zx-kind" }, name));
  kind("Re-code network B: no prediction may move");
  ["shift", "along"].forEach((key) => (key in RANGES ? range : select)(key));
  check("turn");
  ["flip", "mix", "soft", "labels", "places"].forEach((key) => (key in RANGES ? range : select)(key));
  kind("Read both maps: the networks stay as they are");
  ["target", "reference", "scale", "example"].forEach(select);
  ["relu", "smooth"].forEach(check);
  /** The controls of a step stand first; the others go back to their places. */
  function arrange() {
    for (const [key, box] of Object.entries(boxes)) {
      const up = !full && LEAD[lead].includes(key);
      if (up !== (box.parentElement === first)) up ? first.append(box) : home[key].after(box);
    }
  }

  // Pictures.
  const canvas = () => element("canvas", { role: "img" }), picture = element("img", { alt: "" });
  const nets = ["A: as trained", ""].map((name) => {
    const part = { name: element("strong", {}, name), p: element("span", { class: "zx-p" }), signed: canvas(), drawn: canvas(), captions: [element("figcaption"), element("figcaption")] };
    part.box = element("div", {}, element("span", { class: "zx-name" }, part.name, part.p), element("figure", {}, part.signed, part.captions[0]), element("figure", {}, part.drawn, part.captions[1]));
    return part;
  });
  const caption = element("figcaption"), middle = element("div", { class: "zx-mid" }), source = element("figure", { class: "zx-source" }, picture, caption);
  const frame = element("div", { class: "zx-frame" }, element("div", { class: "zx-maps" }, nets[0].box, nets[1].box), middle);
  const ends = [element("span"), element("i"), element("span")], scale = element("div", { class: "zx-scale" }, ...ends);
  const tiles = element("ul", { class: "zx-tiles" }, ...Array.from({ length: 4 }, () => element("li", {}, element("b"), element("span"))));
  const channels = ["A", "B"].map((name) => element("div", {}, element("b", {}, name), ...Array.from({ length: 6 }, () => element("div", {}, canvas(), element("span")))));
  const unit = element("span", { class: "zx-unit" });
  const inside = element("div", { class: "zx-inside" }, element("strong", {}, "Inside: six channels, and what each weighs, in thousandths"), unit, ...channels);
  const live = element("p", { class: "zx-live", "aria-live": "polite" });

  // The button and the foot.
  const more = element("button", { type: "button", class: "zx-more", "aria-expanded": String(full) }, "All controls");
  more.addEventListener("click", () => {
    const open = root.classList.toggle("zx-open");
    more.setAttribute("aria-expanded", String(open));
    say(more, open ? "Fewer controls" : "All controls");
    render(); // what was hidden has not been drawn
  });
  const foot = element("div", { class: "zx-foot" }), base = document.documentElement.dataset.content_root;
  const link = base === undefined || full ? null : element("a", { href: `${base}book/explorer.html` }, "Open this on its own page");
  if (link) foot.append(link);
  root.append(element("div", { class: "zx-all" }, steps, text, frame, scale, first, ...(full ? [] : [more]), rest, inside, tiles, foot, live));
  const bar = document.querySelector(".bd-header-article"); // stays above what is sticky
  root.style.setProperty("--zx-top", `${bar && getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0}px`);

  const under = {}, paint = painter(data.colours);
  const load = async (name) => { under[name] = await backdrop(data.examples[name].picture); render(); };

  /** The two maps of one network. */
  function drawNet(part, name, { M, L }, limits, above) {
    const s = state, { h, w, Z } = decode(data.examples[s.example]), paper = s.smooth ? under[s.example] : null;
    [[part.signed, M, limits[0]], [part.drawn, L, limits[1]]].forEach(([target, values, limit]) => {
      const pen = paint(target, values, h, w, limit, paper);
      if (paper && target === part.signed) zeroLine(pen, values, h, w);
      if (s.scale !== "none") outline(pen, [...(target === part.signed ? normalise(M, "max") : L)].map((v) => v > CUT), h, w, "#1b7837", pen.canvas.width / 90);
    });
    const span = (V) => `${number(Math.min(...V))} to ${number(Math.max(...V))}`, positive = M.filter((v) => v > 1e-6 * limits[0]).length;
    const covers = above === 0 ? "blank" : above === Z ? "full" : `${above} of ${Z} above zero`;
    const scaled = { none: "", max: ", highest is 1", minmax: ", lowest 0, highest 1" }[s.scale];
    const title = s.relu ? (s.reference === "local" ? "Local score, ReLU" : "Grad-CAM") : "Without ReLU";
    say(part.captions[0], `Signed map: ${span(M)}`);
    say(part.captions[1], `${title}${scaled}: ${covers}`);
    label(part.signed, `Network ${name}, signed map: from ${span(M)}, ${positive} of ${Z} positions above zero.`);
    label(part.drawn, `Network ${name}, map as drawn, ${s.relu ? "with" : "without"} ReLU${scaled}: from ${span(L)}, ${covers}.`);
  }

  function render() {
    const s = state, example = data.examples[s.example], { D, h, w, Z } = decode(example);
    const seen = compare(s, data), { now, then } = seen, step = named(moving ? goal : s);
    if (!(s.example in under)) { under[s.example] = null; load(s.example); }
    root.classList.toggle("zx-square", h === w);
    root.classList.toggle("zx-bare", !s.smooth);
    root.classList.toggle("zx-ink", s.example !== "photo");

    // Steps, sentence and controls.
    for (const [key, button] of Object.entries(buttons)) label(button, String(key === step), "aria-pressed");
    if (step) lead = step;
    arrange();
    const [happened, map] = sentence(s, data, seen);
    say(asks, step ? data.presets[step].asks : "Your own setting.");
    say(says[0], happened);
    say(says[1], map);
    if (shown !== s.example) {
      shown = s.example;
      const targets = [[-1, "the map of the class shown"], [0, "all channels alike"], ...example.classes.map((c, n) => [n + 1, `only the map of “${c}”`])];
      inputs.along.replaceChildren(...targets.map(([value, name]) => element("option", { value }, name)));
      inputs.flip.max = D;
      inputs.places.max = w - 1;
      inputs.turn.disabled = !example.turns;
      both = chart(example.classes, (c) => change({ class: c }));
      middle.replaceChildren(source, both.box);
      picture.src = example.picture;
      picture.alt = example.title;
      say(caption, `The picture: ${example.title}`);
    }
    for (const [key, input] of Object.entries(inputs)) {
      if (input.type === "checkbox") input.checked = s[key];
      else if (input.value !== String(s[key])) input.value = s[key];
    }
    const texts = { shift: number(s.shift), flip: `${s.flip} of ${D}`, mix: number(s.mix), soft: number(s.soft), places: `${s.places} of ${w}` };
    for (const [key, value] of Object.entries(texts)) {
      say(outputs[key], value);
      label(inputs[key], value, "aria-valuetext");
    }
    both.show(then.p, now.p, s.class);

    // Maps: one scale for all, fixed for the picture, unless the drawn ones are scaled.
    const limit = limitOf(s.example, data), limits = [limit, s.scale === "none" ? limit : 1];
    say(ends[0], `against  ${number(-limit)}`);
    say(ends[2], `${number(limit)}  for`);
    const same = Object.entries(REWRITE).every(([key, value]) => s[key] === value);
    say(nets[1].name, same ? "B: the same, so far" : "B: re-coded");
    nets.forEach((part, n) => say(part.p, `${example.classes[s.class]} ${number((n ? now : then).p[s.class])}`));
    nets.forEach((part, n) => drawNet(part, "AB"[n], n ? now : then, limits, seen.above[n]));

    // What holds.
    const moved = {
      still: [true, number(0), "change of the signed map"],
      constant: [false, number(seen.low), "change of the signed map: one constant"],
      turned: [false, "turned", "the signed map: every sign is the opposite"],
      field: [false, between(seen.low, seen.high), "change of the signed map: a field"],
    }[seen.map], percent = (n) => `${Math.round((100 * n) / Z)}\u00a0%`;
    [
      [seen.predictions < 5e-5, seen.predictions.toFixed(4), "largest change of a probability"],
      moved,
      [seen.order === "kept", seen.order, "order of the positions"],
      [seen.above[0] === seen.above[1], percent(seen.above[1]), `drawn above zero in B; in A ${percent(seen.above[0])}`],
    ].forEach(([held, value, name], n) => {
      say(tiles.children[n].firstChild, `${held ? "✓" : "→"} ${value}`);
      say(tiles.children[n].lastChild, name);
    });

    // Channels.
    inside.toggleAttribute("data-lead", lead === "mix");
    if (inside.checkVisibility?.() ?? true) {
      say(unit, ` “× ${number(1000 * then.alpha[0], 1)}” stands for the weight ${number(then.alpha[0], 4)}.`);
      [then, now].forEach((net, n) => {
        const size = Math.max(...net.A.slice(0, 6 * Z).map(Math.abs));
        [...channels[n].children].slice(1).forEach((box, k) => {
          const part = net.A.slice(k * Z, (k + 1) * Z), weight = number(1000 * net.alpha[k], 1);
          paint(box.firstChild, part, h, w, size, null);
          label(box.firstChild, `Network ${"AB"[n]}, channel ${k + 1}: from ${number(Math.min(...part))} to ${number(Math.max(...part))}; weight ${weight} thousandths.`);
          say(box.lastChild, `× ${weight}`);
        });
      });
    }

    clearTimeout(said);
    said = setTimeout(() => {
      say(live, `${happened} ${map}`);
      const text = write(state, data) || "example=photo";
      if (link) link.href = `${base}book/explorer.html?${text}`;
      if (full && (text !== "example=photo" || given())) history.replaceState(null, "", address(text));
    }, 300);
  }

  function schedule() {
    waiting ||= requestAnimationFrame(() => { waiting = 0; render(); });
  }
  function change(part) {
    if (part.example) {
      const example = data.examples[part.example], [D, , w] = example.A[0];
      part = { ...part, class: FIRST[part.example], along: -1, turn: state.turn && example.turns };
      part.flip = Math.min(state.flip, D);
      part.places = Math.min(state.places, w - 1);
    }
    stop();
    state = { ...state, ...part };
    schedule();
  }
  /** A glide ends at once, where it was going. */
  function stop() {
    cancelAnimationFrame(moving);
    if (moving) state = goal;
    moving = 0;
  }
  /** To a step; sliders glide there, unless motion is unwanted or the picture changes. */
  function go(name) {
    stop();
    const from = state, to = goal = preset(name), glide = ["shift", "mix", "soft", "flip"], began = performance.now();
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
    if (![...new URLSearchParams(given()).keys()].some((key) => key in data.start)) return;
    state = read(given(), data);
    schedule();
  }
  if (full) { addEventListener("hashchange", fromAddress); fromAddress(); }
  render();
  root.dataset.ready = "1";
  root.explorer = {
    get state() { return state; },
    set(next) { state = { ...data.start, ...next }; render(); },
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
