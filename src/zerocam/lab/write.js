// Write your own heatmap.  One vector v is added to the weights of every class: no probability moves,
// and every map moves by v . A / Z.  `network`, `solver` and `written` are the mathematics and touch
// no page; the rest draws it.  Letters as in zerocam: features A (K, Z), kept sparse, head rows W
// (C, K), scores y of all classes, signed map M.  Data: write.json.
import { address, backdrop, chart, dress, element, given, label, LOOK, number, painter, say } from "./drawing.js";

// ---- The mathematics ---------------------------------------------------------------------------

const FAR = 255, TOP = 6, STEPS = 65535; // as in write.py
export const INK = 2 / 3; // of the colour scale: a red that is seen over a photograph

/** The network above its features, and the features: what is not zero, channel after channel. */
export function network(data) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), view = (text) => new DataView(bytes(text).buffer);
  const [K, h, w] = data.shape, Z = h * w, C = data.classes.length;
  const gaps = bytes(data.A[0]), planes = bytes(data.A[1]), n = planes.length / 2;
  const a = new Float64Array(n), at = new Int32Array(n), start = new Int32Array(K + 1), mean = new Float64Array(K), loud = new Float64Array(K);
  let where = -1, i = 0;
  for (const gap of gaps) {
    where += gap < FAR ? gap + 1 : FAR;
    if (gap === FAR) continue;
    const k = Math.floor(where / Z), value = (256 * planes[i] + planes[n + i]) * (TOP / STEPS);
    [a[i], at[i]] = [value, where % Z];
    start[k + 1] = ++i;
    mean[k] += value / Z;
    loud[k] += value * value;
  }
  for (let k = 0; k < K; k++) start[k + 1] = Math.max(start[k + 1], start[k]); // of channels that are silent
  const weights = view(data.W), scores = view(data.y);
  const W = Float64Array.from({ length: C * K }, (_, j) => data.unit * weights.getInt16(2 * j, true));
  const y = Float64Array.from({ length: scores.byteLength / 4 }, (_, j) => scores.getFloat32(4 * j, true));
  const order = [...loud.keys()].sort((j, k) => loud[k] - loud[j]);
  const net = { K, Z, h, w, C, a, at, start, mean, order, y, W, rows: data.numbers, row: data.row };
  net.maps = Array.from({ length: C }, (_, c) => through(net, W.subarray(c * K, (c + 1) * K)).map((m) => m / Z));
  net.limit = Math.max(...net.maps.flatMap((M) => [...M].map(Math.abs)));
  net.p = softmax(y);
  return net;
}

/** A^T v: what weights v say at each position. */
function through({ K, Z, a, at, start }, v) {
  const said = new Float64Array(Z);
  for (let k = 0; k < K; k++) for (let i = start[k]; i < start[k + 1]; i++) said[at[i]] += v[k] * a[i];
  return said;
}

function softmax(y) {
  const top = y.reduce((m, v) => Math.max(m, v), -Infinity), odds = y.map((v) => Math.exp(v - top)), total = odds.reduce((p, q) => p + q, 0);
  return odds.map((odd) => odd / total);
}

/** Solve G x = d again and again, by Cholesky; a direction that G hardly has is left out. */
function cholesky(G, n) {
  const L = new Float64Array(n * n), kept = new Uint8Array(n), least = 1e-10 * Math.max(...Array.from({ length: n }, (_, i) => G[i * n + i]));
  let rank = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = G[i * n + j];
      for (let k = 0; k < j; k++) sum -= L[i * n + k] * L[j * n + k];
      if (j < i) L[i * n + j] = kept[j] ? sum / L[j * n + j] : 0;
      else if (sum > least) [L[i * n + i], kept[i]] = [Math.sqrt(sum), 1];
    }
    rank += kept[i];
  }
  const solve = (d) => {
    const x = Float64Array.from(d);
    for (let i = 0; i < n; i++) {
      for (let k = 0; k < i; k++) x[i] -= L[i * n + k] * x[k];
      x[i] = kept[i] ? x[i] / L[i * n + i] : 0;
    }
    for (let i = n - 1; i >= 0; i--) {
      x[i] = kept[i] ? x[i] / L[i * n + i] : 0;
      for (let k = 0; k < i; k++) x[k] -= L[i * n + k] * x[i];
    }
    return x;
  };
  return { rank, solve };
}

/** How to find the shortest v, in the n loudest channels, for which A^T v is nearest to d. */
export function solver(net, n = net.K) {
  const { K, Z, a, at, start } = net, chosen = net.order.slice(0, n).sort((j, k) => j - k);
  if (n >= Z) { // v = A c with (A^T A) c = d
    const G = new Float64Array(Z * Z);
    for (const k of chosen) for (let i = start[k]; i < start[k + 1]; i++) for (let j = start[k]; j < start[k + 1]; j++) G[at[i] * Z + at[j]] += a[i] * a[j];
    const { rank, solve } = cholesky(G, Z);
    return { rank, channels: n, solve: (d) => {
      const c = solve(d), v = new Float64Array(K);
      for (const k of chosen) for (let i = start[k]; i < start[k + 1]; i++) v[k] += a[i] * c[at[i]];
      return v;
    } };
  }
  const row = (k, wide = new Float64Array(Z)) => { // (A A^T) v = A d
    for (let i = start[k]; i < start[k + 1]; i++) wide[at[i]] = a[i];
    return wide;
  };
  const dense = chosen.map((k) => row(k)), dot = (p, q) => p.reduce((sum, value, i) => sum + value * q[i], 0), H = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) H[i * n + j] = H[j * n + i] = dot(dense[i], dense[j]);
  const { rank, solve } = cholesky(H, n);
  return { rank, channels: n, solve: (d) => {
    const some = solve(dense.map((one) => dot(one, d))), v = new Float64Array(K);
    chosen.forEach((k, i) => (v[k] = some[i]));
    return v;
  } };
}

/** The network that has the drawing (Z values: -1, 0 or 1, in units of the ink) as a class's map. */
export function written(net, { solve }, drawing, c) {
  const { K, Z, limit, row } = net, before = net.maps[c], wanted = Array.from(drawing, (ink) => ink * INK * limit);
  const v = solve(wanted.map((m, p) => Z * (m - before[p])));
  const weights = net.W.slice(c * K, (c + 1) * K).map((u, k) => u + v[k]);
  const M = through(net, weights).map((m) => m / Z), gained = v.reduce((sum, u, k) => sum + u * net.mean[k], 0);
  const p = softmax(net.y.map((score) => score + gained)); // every class gains the same
  return {
    v, M, p,
    moved: p.reduce((most, q, i) => Math.max(most, Math.abs(q - net.p[i])), 0),
    missed: M.reduce((most, m, i) => Math.max(most, Math.abs(m - wanted[i])), 0) / limit,
    length: Math.hypot(...v) / row,
  };
}

// ---- Words, and the address --------------------------------------------------------------------

const GLYPHS = Object.fromEntries(( // five rows of points, a digit of base 32 a row: three points, four of N, five of M and W
  "A25755 B65656 C34443 D65556 E74647 F74644 G34553 H55755 I72227 J11152 K55655 L44447 M57755 N75555 O75557 P65644 Q25563 R75655 S34216 T72222 " +
  "U55557 V55552 W55775 X55255 Y55222 Z71247 025552 126227 261247 361216 455711 574616 634652 771222 825252 925316 " +
  "!22202 ?61202 .00002 -00700 +02720 =07070 '22000 ,00024 :02020 /11244 <12421 >42124 ♥57720"
).split(" ").map((text) => [text[0], [...text.slice(1)].map((c) => parseInt(c, 32))]));
const WIDE = { M: [5, "hrlhh"], W: [5, "hhlla"], N: [4, "9db99"] }; // clearer, where there is room
const LINE = 7; // letters

/** The one or two lines that a word is drawn as, and the letters for which there is no room or no form. */
export function fitted(text) {
  const known = (c) => c in GLYPHS, letters = [...text.toUpperCase().replaceAll("ẞ", "SS").normalize("NFD").replace(/\p{M}/gu, "")];
  const all = letters.map((c) => (known(c) ? c : " ")).join("").trim();
  const cut = all.length <= LINE ? all.length : Math.max(all.lastIndexOf(" ", LINE), 0) || LINE, rest = all.slice(cut).trim();
  const lost = letters.filter((c) => c.trim() && !known(c)).join("") + rest.slice(LINE).trim();
  return { lines: [all.slice(0, cut).trim(), rest.slice(0, LINE).trim()].filter(Boolean), lost };
}

/** A word as a drawing (h, w): one line as large as it can be, or two. */
export function lettered(text, h, w) {
  const drawing = new Int8Array(h * w), { lines } = fitted(text), tall = lines.length > 1 ? 1 : 2, high = lines.length * (5 * tall + 1) - 1;
  const long = (forms, wide) => forms.reduce((sum, [points]) => sum + wide * points + 1, -1);
  lines.forEach((line, n) => {
    const narrow = [...line].map((c) => [3, GLYPHS[c] ?? []]);
    const clear = [...line].map((c, m) => (WIDE[c] ? [WIDE[c][0], [...WIDE[c][1]].map((d) => parseInt(d, 32))] : narrow[m]));
    const wide = tall === 2 && long(clear, 2) <= w ? 2 : 1, forms = long(clear, wide) <= w ? clear : narrow;
    let left = Math.floor((w - long(forms, wide)) / 2);
    const up = Math.floor((h - high) / 2) + n * (5 * tall + 1);
    for (const [points, rows] of forms) {
      rows.forEach((bits, r) => {
        for (let i = 0; i < tall; i++) for (let j = 0; j < points * wide; j++) {
          if ((bits >> (points - 1 - Math.floor(j / wide))) & 1) drawing[(up + r * tall + i) * w + left + j] = 1;
        }
      });
      left += points * wide + 1;
    }
  });
  return drawing;
}

const FIVE = 5; // cells in a byte, three values each

/** A state as text for the address: the word, or else the cells. */
export function write({ word, cells, class: c, channels }, data) {
  const text = new URLSearchParams(), [K, h, w] = data.shape;
  if (word && lettered(word, h, w).every((ink, i) => ink === cells[i])) text.set("word", word);
  else {
    const bytes = [];
    for (let i = 0; i < cells.length; i += FIVE) bytes.push(Array.from(cells.slice(i, i + FIVE)).reduceRight((sum, ink) => 3 * sum + ((ink + 3) % 3), 0));
    while (bytes.length && !bytes.at(-1)) bytes.pop();
    text.set("cells", btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, ""));
  }
  if (data.classes[c] !== "espresso") text.set("class", data.classes[c]);
  if (channels !== K) text.set("channels", channels);
  return text.toString();
}

/** The state that a text describes; what it cannot read stays as at the start. */
export function read(text, data) {
  const given = new URLSearchParams(text), [K, h, w] = data.shape, names = data.classes, channels = Number(given.get("channels"));
  const state = { word: "ZERO", class: Math.max(names.indexOf(given.get("class")), 0), channels: CHANNELS.includes(channels) ? channels : K };
  if (!names.includes(given.get("class"))) state.class = names.indexOf("espresso");
  if (given.has("word")) state.word = given.get("word").slice(0, 2 * LINE + 1);
  state.cells = lettered(state.word, h, w);
  if (given.has("cells") && /^[\w-]*$/.test(given.get("cells"))) {
    state.word = "";
    state.cells = new Int8Array(h * w);
    const packed = given.get("cells").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = packed.length % 4 === 1 ? "" : atob(packed); // no text of bytes is that long
    for (let i = 0; i < h * w; i++) state.cells[i] = [0, 1, -1][Math.floor((bytes.charCodeAt(Math.floor(i / FIVE)) || 0) / 3 ** (i % FIVE)) % 3];
  }
  return state;
}

// ---- The page ----------------------------------------------------------------------------------

const CHANNELS = [1280, 200, 100, 50];
const STYLE = `
.zw-tools { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; align-items: center; margin: 0 0 .8rem; }
.zw-tools label { display: flex; gap: .5rem; align-items: center; margin: 0; }
.zw-tools :is(input, select) { min-height: 2.3rem; padding: .2rem .6rem; border: 1px solid var(--line); border-radius: 6px; background: transparent; }
.zw-tools input { width: 11.5rem; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; }
.zw-tools select option { color: #222; background: #fff; }
.zero-explorer .zw-brushes { display: flex; flex-wrap: wrap; gap: .4rem; }
.zw-brushes i { display: inline-block; width: .8rem; height: .8rem; margin-right: .45rem; border-radius: 50%; box-shadow: 0 0 0 1px var(--line); vertical-align: -.05rem; }
.zw-says { min-height: 4.2em; margin: 0 0 .7rem; text-wrap: pretty; }
.zw-maps, .zw-facts { display: grid; grid-template-columns: 1fr; gap: 0 1rem; align-items: start; }
.zw-draw { touch-action: none; cursor: crosshair; }
.zero-explorer dl.zw-numbers { display: grid; grid-template-columns: 1fr auto; margin: .4rem 0 0; font-size: .88rem; font-variant-numeric: tabular-nums; }
.zero-explorer dl.zw-numbers.zw-numbers > :is(dt, dd) { margin: 0; padding: .3rem 0; font-weight: 400; border-bottom: 1px solid var(--line); }
.zero-explorer .zw-numbers dt { padding-right: 1rem; }
.zero-explorer .zw-numbers dd { font-weight: 600; text-align: right; }
.zero-explorer .zx-buttons { margin: 1rem 0 0; }
@container (max-width: 33.99rem) { .zw-maps > :first-child { order: 1; } }
@container (min-width: 34rem) {
  .zw-says { min-height: 2.9em; }
  .zw-maps, .zw-facts { grid-template-columns: 1fr 1fr; }
}`;

/** Draw the writing page into an element; gives a handle to read, set and redraw it. */
export function mount(root, data) {
  dress("zero-explorer-style", LOOK, data.colours);
  dress("zero-write-style", STYLE, data.colours);
  const net = network(data), { K, Z, h, w, limit } = net, solvers = {}, paint = painter(data.colours);
  let state = read(given(), data), ink = 1, waiting = 0, resting = 0, last = null, paper = null, shown = null, touched = false;
  root.replaceChildren();
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Write your own heatmap");

  // Tools: a word, brushes, and which channels may change.
  const field = element("input", { type: "text", maxlength: 2 * LINE + 1, placeholder: "two lines of 7", autocomplete: "off", autocapitalize: "characters", spellcheck: "false" });
  field.addEventListener("input", () => { keep(); change({ word: field.value.trim() && field.value, cells: lettered(field.value, h, w) }); });
  const brushes = element("div", { class: "zw-brushes", role: "group", "aria-label": "What you draw with" });
  const brush = (value, text, hue) => {
    const dot = element("i"), button = element("button", { type: "button", "aria-pressed": String(value === ink) }, dot, text);
    dot.style.background = hue;
    button.addEventListener("click", () => {
      ink = value;
      [...brushes.children].forEach((other) => label(other, String(other === button), "aria-pressed"));
    });
    brushes.append(button);
  };
  brush(1, "For", data.colours[5]);
  brush(-1, "Against", data.colours[1]);
  brush(0, "Erase", data.colours[3]);
  const clear = element("button", { type: "button" }, "Clear");
  clear.addEventListener("click", () => { keep(); change({ word: "", cells: new Int8Array(Z) }); });
  const undo = element("button", { type: "button", disabled: "" }, "Undo"), past = []; // what was drawn before
  const keep = () => { past.push({ word: state.word, cells: state.cells }); undo.disabled = false; };
  const back = () => {
    if (!past.length) return;
    field.value = past.at(-1).word;
    change(past.pop());
    undo.disabled = !past.length;
  };
  undo.addEventListener("click", back);
  root.onkeydown = (event) => {
    if (event.target === field || event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    back();
  };
  const channels = element("select", {}, ...CHANNELS.map((n) => element("option", { value: n }, n === K ? `all ${n.toLocaleString("en")}` : `the ${n} loudest`)));
  channels.addEventListener("input", () => change({ channels: Number(channels.value) }));
  const tools = element("div", { class: "zw-tools" }, element("label", {}, "Type a word", field), brushes, undo, clear);

  // Pictures, probabilities, numbers.
  const says = element("p", { class: "zw-says" }), live = element("p", { class: "zx-live", "aria-live": "polite" });
  const drawn = ["A", "B"].map((name) => {
    const canvas = element("canvas", { role: "img" }), caption = element("figcaption"), title = element("strong", { class: "zx-name" });
    return { name, canvas, caption, title, box: element("figure", {}, title, canvas, caption) };
  });
  const board = drawn[1].canvas;
  board.classList.add("zw-draw");
  const scale = element("div", { class: "zx-scale" }, element("span", {}, `against ${number(-limit, 3)}`), element("i"), element("span", {}, `${number(limit, 3)} for`));
  const both = chart(data.classes, (c) => change({ class: c }));
  const names = ["Positions that may have any value", "Farthest that a position is from the drawing", "Largest change of any of the 1,000 probabilities", "Length of the extra weights; a class's own weights have the length 1, on average"];
  const values = names.map(() => element("dd"));
  const numbers = element("dl", { class: "zw-numbers" }, ...names.flatMap((name, n) => [element("dt", {}, name), values[n]]));
  const link = element("button", { type: "button" }, "Copy the link"), save = element("button", { type: "button" }, "Save the picture"), done = element("span", { role: "status" });
  const side = element("div", {}, numbers, element("div", { class: "zw-tools zx-buttons" }, element("label", {}, "Channels that may change", channels)), element("div", { class: "zx-buttons" }, link, save, done));
  root.append(tools, says, element("div", { class: "zw-maps" }, drawn[0].box, drawn[1].box), scale, element("div", { class: "zw-facts" }, both.box, side), live);
  backdrop(data.picture).then((made) => { paper = made; render(); });

  function render() {
    const c = state.class, name = data.classes[c], before = net.maps[c];
    const how = solvers[state.channels] ??= solver(net, state.channels), seen = shown = written(net, how, state.cells, c);
    const span = (M) => `${number(M.reduce((m, v) => Math.min(m, v), Infinity), 3)} to ${number(M.reduce((m, v) => Math.max(m, v), -Infinity), 3)}`;
    drawn.forEach(({ canvas, caption, title, name: letter }, n) => {
      const M = n ? seen.M : before;
      paint(canvas, M, h, w, limit, paper, false); // cell by cell, as it is drawn
      say(title, n ? "B: with the extra weights. Draw here" : "A: as trained");
      say(caption, `Map of “${name}”: ${span(M)}`);
      if (!n) label(canvas, `Network ${letter}, map of ${name}, from ${span(M)}.`);
    });
    both.show(data.numbers.map((i) => net.p[i]), data.numbers.map((i) => seen.p[i]), c, (p) => p.toFixed(4));
    if (field.value !== state.word && document.activeElement !== field) field.value = state.word;
    channels.value = state.channels;
    const missed = seen.missed < 5e-5 ? "0.0000" : `${Math.round(100 * seen.missed)} % of the colour scale`;
    [`${how.rank} of ${Z}`, missed, seen.moved.toFixed(4), number(seen.length, 1)].forEach((text, n) => say(values[n], text));
    const { lines, lost } = state.word ? fitted(state.word) : { lines: [], lost: "" }, far = seen.missed >= 0.05;
    const held = seen.moved < 5e-5 ? "no probability moved" : `a probability moved by ${seen.moved.toFixed(4)}`;
    const met = far ? `cannot be what was drawn: the farthest position misses it by ${missed}` : seen.missed < 5e-5 ? "is what was drawn" : `comes near to what was drawn, to within ${missed}`;
    const blank = state.cells.some(Boolean) ? "" : " Nothing is drawn, so the map is zero everywhere.";
    const left = lost ? ` Not drawn: ${lost}. There is room for two lines of seven letters, digits and signs.` : "";
    say(says, `Network B has one more list of ${state.channels.toLocaleString("en")} weights, the same for each of its 1,000 classes. The map of “${name}” ${met}, and ${held}.${blank}${left}`);
    label(board, `Network B, map of ${name}, from ${span(seen.M)}: ${lines.length ? `the word ${lines.join(" ")}` : "your drawing"}.`);
    clearTimeout(resting);
    resting = setTimeout(() => {
      say(live, says.textContent);
      if (touched) history.replaceState(null, "", address(write(state, data)));
    }, 300);
  }
  function change(part) {
    state = { ...state, ...part };
    touched = true;
    say(done, "");
    waiting ||= requestAnimationFrame(() => { waiting = 0; render(); });
  }

  // Drawing with a mouse, a pen or a finger: a line of cells from the last place to this one.
  const place = ({ clientX, clientY }) => {
    const box = board.getBoundingClientRect();
    return [Math.floor(((clientY - box.top) / box.height) * h), Math.floor(((clientX - box.left) / box.width) * w)];
  };
  function stroke(event) {
    const [i, j] = place(event), [from, at] = last ?? [i, j], steps = Math.max(Math.abs(i - from), Math.abs(j - at), 1), cells = state.cells.slice();
    for (let n = 0; n <= steps; n++) {
      const r = Math.round(from + ((i - from) * n) / steps), q = Math.round(at + ((j - at) * n) / steps);
      if (r >= 0 && r < h && q >= 0 && q < w) cells[r * w + q] = ink;
    }
    last = [i, j];
    change({ word: "", cells });
  }
  board.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    board.setPointerCapture(event.pointerId);
    last = null;
    keep();
    if (!touched && !given()) state = { ...state, cells: new Int8Array(Z) }; // a stroke takes the place of the word of the start
    stroke(event);
  });
  board.addEventListener("pointermove", (event) => {
    if (board.hasPointerCapture(event.pointerId)) (event.getCoalescedEvents?.() ?? [event]).concat(event).forEach(stroke);
  });

  // To take away: the link, and the picture with its caption.
  link.addEventListener("click", async () => {
    const made = address(write(state, data)).split("#")[0];
    history.replaceState(null, "", made);
    try {
      await navigator.clipboard.writeText(made);
      say(done, "The link is copied.");
    } catch {
      say(done, "The link is in the address bar.");
    }
  });
  /** Both maps, and below them what they are. */
  function poster() {
    const wide = 1200, edge = 40, each = (wide - 3 * edge) / 2, tall = each / 2, made = element("canvas", { width: wide, height: tall + 300 }), pen = made.getContext("2d");
    const c = state.class, name = data.classes[c], p = [net.p, shown.p].map((all) => (100 * all[data.numbers[c]]).toFixed(2));
    const write = (text, x, y, font) => { pen.font = `${font} "Source Sans 3", "Helvetica Neue", Arial, sans-serif`; pen.fillText(text, x, y, wide - x - edge); };
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, made.width, made.height);
    pen.fillStyle = "#222";
    write("Two networks, one function", edge, 66, "600 40px");
    drawn.forEach(({ canvas, name: letter }, n) => {
      const x = edge + n * (each + edge);
      pen.drawImage(canvas, x, 130, each, tall);
      write(`${letter}: ${name} ${p[n]} %`, x, 114, "600 24px");
    });
    write(`Each is a network's heatmap of “${name}” for the same photograph. B is A with one list of weights added, the same for`, edge, tall + 182, "22px");
    write(`each of its 1,000 classes. Largest change of any probability: ${shown.moved.toFixed(4)}. Red speaks for, blue against.`, edge, tall + 216, "22px");
    write("EfficientNet-Lite0, from: What Does Zero Mean? Photographs: Stéfan van der Walt, Rachel Michetti (CC0).", edge, tall + 262, "20px");
    return made;
  }
  save.addEventListener("click", () => poster().toBlob((blob) => {
    const source = URL.createObjectURL(blob), anchor = element("a", { href: source, download: "heatmap.png" });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(source), 1000);
    say(done, "The picture is saved.");
  }));

  addEventListener("hashchange", () => {
    if (!location.hash.includes("=")) return render(); // a heading of the page: the address keeps the drawing
    state = read(given(), data);
    field.value = state.word;
    change({});
  });
  render();
  root.dataset.ready = "1";
  root.writing = {
    get state() { return state; },
    get seen() { return shown; },
    set(next) { state = { ...state, ...next }; render(); },
    poster, net,
  };
  return root.writing;
}

/** Draw the page's own. */
export function mountWriting(data) {
  document.querySelectorAll(".zero-write:not([data-ready])").forEach((root) => mount(root, data));
}
