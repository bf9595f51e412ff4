// All neurons of a layer, a cell each, and how their values are distributed.

let stripOrder = "value";

function stripFigure() {
  const order = choices("Order", [["value", "by share"], ["index", "by number"]], () => stripOrder, (value) => {
    stripOrder = value;
    figures.get("strip").redraw();
  });
  return figure({
    id: "strip", title: "The neurons of a layer", uses: ["task", "layer", "language", "category", "neuron"], tools: order,
    text: () => {
      const { meta } = run();
      if (!meta.strips) return "The neurons of this run are too many for one file; write a folder with --folder to see each of them.";
      const precise = rounding();
      const why = state.layer !== null ? "" : meta.corpus ? "; choose another one above" : ", which has the most all-shared neurons; choose another one above";
      const where = `Layer ${meta.layers[shownLayer()]}${why}.`;
      const task = state.task && meta.strips.groups === 1 ? " All tasks together." : "";
      return `${where} Each cell is a neuron, coloured by ${stripWhat("it")}.${task}${precise} Select one to open its page.`;
    },
    draw: async (body, width) => {
      if (!run().meta.strips) return;
      const values = await stripValues();
      body.append(h("div", {}, mosaic(width, values), h("h3", {}, `Neurons by ${stripWhat("each")}`), histogram(width, values.share, shownNeuron())));
    },
    numbers: async () => {
      const { meta } = run();
      if (!meta.strips) return { columns: ["neuron"], rows: [] };
      const { share } = await stripValues();
      const bins = binned(share);
      return { columns: ["share, from", "share, to", "neurons"], rows: bins.map((n, b) => [b / bins.length, (b + 1) / bins.length, n]) };
    },
  });
}

// Without a choice, the layer with the most all-shared neurons.
const shownLayer = () => state.layer ?? mostShared();

function mostShared() {
  const { meta, arrays } = run();
  if (!arrays.category) return 0;
  return range(meta.layers.length).reduce((best, n) => (at(arrays.category, 0, 0, n, 3) > at(arrays.category, 0, 0, best, 3) ? n : best), 0);
}
const shownNeuron = () => state.neuron;
// How coarse the strips are, as a sentence; nothing if they hold exact counts.
function rounding() {
  const { strips, corpus } = run().meta;
  if (strips && state.language !== null && !strips.languages) return " This file has no shares of every neuron by language; a report written with --folder has.";
  if (!strips || strips.exact) return "";
  const [first, last] = [strips.scale[0][0], strips.scale[0].at(-1)].map((steps) => percent(1 / steps));
  return corpus || first === last || !strips.languages ? ` Shares are rounded to steps of ${first}.`
    : ` Shares are rounded to steps of ${first}, of languages ${last}; --folder keeps exact counts.`;
}

const stripGroup = () => (run().meta.strips.groups > 1 ? state.task : 0);

function stripWhat(neuron) {
  const { meta } = run();
  if (state.language !== null && meta.strips.languages) return `how often ${languageName(state.language)} activates ${neuron}`;
  if (state.category !== null) return `how often ${neuron} is ${categoryName(state.category)}`;
  return run().meta.corpus ? `how often ${languageName(0)} activates ${neuron}` : `how often ${neuron} is in its most frequent category`;
}

// {share: [I], category: [I] or null}: what the strip shows of each neuron.
async function stripValues() {
  const { meta } = run();
  const all = await planes(run(), shownLayer());
  const g = stripGroup(), scale = meta.strips.scale[g], each = scale.length;
  const share = (p) => Float32Array.from(all[g * each + p], (value) => value / (scale[p] || 1));
  if (meta.corpus) {
    return { share: share(state.language ?? 0), category: null };
  }
  if (state.language !== null && meta.strips.languages) return { share: share(3 + state.language), category: null };
  const three = [0, 1, 2].map(share);
  const none = three[0].map((value, i) => Math.max(0, 1 - value - three[1][i] - three[2][i]));
  const four = [none, ...three];
  if (state.category !== null) return { share: four[state.category], category: null, hue: state.category };
  const category = Uint8Array.from(none, (_, i) => {
    let best = 0;
    for (let c = 1; c < 4; c++) if (four[c][i] > four[best][i]) best = c;
    return best;
  });
  return { share: Float32Array.from(category, (c, i) => four[c][i]), category };
}

function mosaic(width, { share, category, hue }) {
  const { meta } = run();
  const I = share.length;
  // Cells as large as fit into about a third of a screen.
  const cell = clamp(Math.floor(Math.sqrt((width * 300) / I)), 3, 14);
  const columns = Math.max(1, Math.floor(width / cell)), rows = Math.ceil(I / columns);
  const order = Array.from(share.keys());
  if (stripOrder === "value") order.sort((a, b) => (category ? category[b] - category[a] : 0) || share[b] - share[a] || a - b);
  const scale = window.devicePixelRatio || 1;
  const canvas = h("canvas", { width: Math.round(columns * cell * scale), height: Math.round(rows * cell * scale), "aria-hidden": "true",
    style: { width: `${columns * cell}px`, height: `${rows * cell}px` } });
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const ramps = category ? CATEGORY_KEYS.map((key) => ramp(["tint", key])) : [hue === undefined ? ramp() : ramp(["low", CATEGORY_KEYS[hue]])];
  const gap = cell > 5 ? 1 : 0.4;
  order.forEach((i, place) => {
    pen.fillStyle = ramps[category ? category[i] : 0](share[i]).css;
    pen.fillRect((place % columns) * cell, Math.floor(place / columns) * cell, cell - gap, cell - gap);
  });
  const drawing = h("div", { class: "drawing", tabindex: 0, role: "group", "data-key": "drawing",
    "aria-label": `Neurons of layer ${meta.layers[shownLayer()]}, coloured by ${stripWhat("it")}. Arrow keys move between neurons, Enter opens one.` }, canvas);
  const frame = h("div", { style: { position: "absolute", border: "2px solid var(--ink)", "pointer-events": "none", width: `${cell + 3}px`, height: `${cell + 3}px`, display: "none" } });
  drawing.append(frame);
  let current = shownNeuron() === null ? 0 : Math.max(0, order.indexOf(shownNeuron()));
  const lines = (i) => [`Neuron ${meta.layers[shownLayer()]}:${i}`, category ? `${categoryName(category[i])} in ${percent(share[i])} of examples`
    : meta.corpus ? `${percent(share[i])} of tokens` : `${percent(share[i])} of examples`];
  const show = (place) => {
    frame.style.display = "block";
    frame.style.left = `${(place % columns) * cell - 2}px`;
    frame.style.top = `${Math.floor(place / columns) * cell - 2}px`;
  };
  const placeAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / cell), line = Math.floor((event.clientY - box.top) / cell);
    const place = line * columns + column;
    return column >= 0 && column < columns && line >= 0 && place < I ? place : null;
  };
  const open = (place) => select({ layer: shownLayer(), neuron: order[place] }, { page: true });
  tipped(drawing, (event) => {
    const place = placeAt(event);
    if (place === null) return null;
    show(place);
    return lines(order[place]);
  });
  drawing.addEventListener("click", (event) => { const place = placeAt(event); if (place !== null) open(place); });
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (event.key === "Enter") return open(current);
    if (!step) return undefined;
    event.preventDefault();
    current = clamp(current + step, 0, I - 1);
    show(current);
    const box = canvas.getBoundingClientRect();
    showTip(lines(order[current]), box.left + (current % columns) * cell, box.top + Math.floor(current / columns) * cell);
    say(lines(order[current]).join(", "));
    return undefined;
  });
  drawing.addEventListener("blur", () => { frame.style.display = "none"; hideTip(); });
  const legend = category
    ? h("div", { class: "legend" }, shownCategories().map((c) => h("span", {}, h("span", { class: "swatch", style: { "--mark": categoryColour(c) } }), categoryName(c))), "stronger: in more examples")
    : rampLegend("0 %", meta.corpus ? "100 % of tokens" : "100 % of examples", hue === undefined ? undefined : ["low", CATEGORY_KEYS[hue]]);
  return h("div", {}, drawing, legend);
}

// Neurons in each of `bins` equal steps of a share; the last one includes 1.
function binned(share, bins = 25) {
  const found = new Array(bins).fill(0);
  for (const value of share) found[clamp(Math.floor(value * bins + 1e-6), 0, bins - 1)]++;
  return found;
}

function histogram(width, share, marked = null, height = 110) {
  const bins = binned(share), most = Math.max(...bins, 1);
  const left = 46, w = (width - left - 8) / bins.length, base = height - 22;
  const drawn = (n) => (n / most) * (base - 8);
  return h("div", { class: "drawing" }, s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Histogram of shares: ${bins.join(", ")} neurons in equal steps from 0 to 100 %` },
    ticks(most, 3).map((n) => [s("line", { class: n ? "grid" : "axis", x1: left, x2: width - 8, y1: base - drawn(n), y2: base - drawn(n) }),
      s("text", { class: "dim number", x: left - 8, y: base - drawn(n) + 4, "text-anchor": "end" }, count(n))]),
    bins.map((n, b) => s("rect", { x: left + b * w, y: base - drawn(n), width: Math.max(1, w - 1), height: drawn(n), fill: "var(--mid)" },
      s("title", {}, `${percent(b / bins.length, 0)} to ${percent((b + 1) / bins.length, 0)}: ${plural(n, "neuron")}`))),
    [0, 0.25, 0.5, 0.75, 1].map((v) => s("text", { class: "dim number", x: left + v * w * bins.length, y: height - 5, "text-anchor": v === 1 ? "end" : "middle" }, percent(v, 0))),
    marked !== null && s("path", { d: `M${left + share[marked] * w * bins.length},${base}l-6,9h12z`, fill: "var(--ink)" })));
}
