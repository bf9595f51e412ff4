// Categories by layer: lines, bands of their intervals, and for a chosen category how much examples differ.

function layersFigure() {
  return figure({
    id: "categories", title: "Categories by layer", uses: ["task", "layer", "category", "language"],
    text: () => {
      const { meta, arrays } = run();
      const n = at(arrays.group_examples, state.task);
      const spread = state.category === null
        ? "Bands are 95 % bootstrap intervals over examples; choose a category to see how much examples differ."
        : `The dark band of ${categoryName(state.category)} is the 95 % interval of the mean; the lighter ones hold the `
          + "middle 90 % of examples, and all of them.";
      return `Share of each layer's ${count(meta.neurons)} neurons in each category, mean over ${plural(n, "example")}. ${spread}`;
    },
    draw: (body, width) => body.append(layerChart(width, { height: 330 })),
    numbers: () => {
      const { meta, arrays } = run();
      const kinds = ["mean", "95 % interval, low", "95 % interval, high", "5th percentile", "95th percentile", "least", "most"];
      return {
        columns: ["layer", "category", ...kinds],
        rows: meta.layers.flatMap((layer, n) => shownCategories().map((c) => [layer, categoryName(c),
          ...[0, 1, 2].map((i) => at(arrays.category, state.task, i, n, c)),
          ...[0, 1, 2, 3].map((i) => at(arrays.spread, state.task, i, n, c))])),
      };
    },
  });
}

// Lines [series] over layers: {name, colour, values, low, high, faint, label}.
function layerChart(width, { height, series = categorySeries(), behind = [], unit = "share of neurons", label = "Categories by layer" }) {
  const { meta } = run();
  const N = meta.layers.length;
  const narrow = width < 560;
  const names = Math.max(...series.map((each) => each.name.length));
  const margin = { top: 14, right: narrow ? 14 : clamp(24 + 8 * names, 120, 240), bottom: 40, left: 46 };
  const inner = { w: Math.max(60, width - margin.left - margin.right), h: height - margin.top - margin.bottom };
  const top = Math.max(1e-6, ...[...series, ...behind].flatMap((each) => [...(each.outer?.[1] ?? each.high ?? each.values)]).filter(Number.isFinite)) * 1.04;
  const x = (n) => margin.left + (N > 1 ? (n / (N - 1)) * inner.w : inner.w / 2);
  const y = (share) => margin.top + inner.h * (1 - share / top);
  const band = (low, high) => `M${range(N).map((n) => `${x(n).toFixed(1)},${y(high[n]).toFixed(1)}`).join("L")}`
    + `L${range(N).reverse().map((n) => `${x(n).toFixed(1)},${y(low[n]).toFixed(1)}`).join("L")}Z`;
  const line = (values) => {
    let pen = "M";
    return range(N).map((n) => {
      if (!Number.isFinite(values[n])) { pen = "M"; return ""; }
      const step = `${pen}${x(n).toFixed(1)},${y(values[n]).toFixed(1)}`;
      pen = "L";
      return step;
    }).join("");
  };
  const rule = s("line", { class: "mark", y1: margin.top, y2: margin.top + inner.h, "stroke-dasharray": "3 3", visibility: "hidden" });
  const every = Math.ceil(N / Math.max(2, inner.w / 34)), steps = ticks(top);
  const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    steps.map((share) => [
      s("line", { class: share ? "grid" : "axis", x1: margin.left, x2: margin.left + inner.w, y1: y(share), y2: y(share) }),
      s("text", { class: "dim number", x: margin.left - 8, y: y(share) + 4, "text-anchor": "end" }, tickLabel(share, steps))]),
    meta.layers.map((layer, n) => n % every === 0 &&
      s("text", { class: "dim number", x: x(n), y: margin.top + inner.h + 18, "text-anchor": "middle" }, layer)),
    s("text", { class: "dim", x: margin.left + inner.w / 2, y: height - 4, "text-anchor": "middle" }, "layer"),
    behind.map((each) => s("path", { d: line(each.values), fill: "none", stroke: each.colour, "stroke-width": 1.3, "stroke-dasharray": "2 3", opacity: 0.8 })),
    series.map((each) => [
      each.outer && s("path", { d: band(...each.outer), fill: each.colour, opacity: 0.09 }),
      each.middle && s("path", { d: band(...each.middle), fill: each.colour, opacity: 0.14 }),
      each.low && s("path", { d: band(each.low, each.high), fill: each.colour, opacity: each.faint ? 0.1 : 0.3 })]),
    series.map((each) => [
      s("path", { d: line(each.values), fill: "none", stroke: each.colour, "stroke-width": each.faint ? 1.5 : 2.5,
        "stroke-linejoin": "round", opacity: each.faint ? 0.4 : 1, "stroke-dasharray": each.dash ?? null }),
      N <= 48 && range(N).map((n) => Number.isFinite(each.values[n]) &&
        s("circle", { cx: x(n), cy: y(each.values[n]), r: each.faint ? 1.6 : 2.6, fill: each.colour, opacity: each.faint ? 0.4 : 1 }))]),
    state.layer !== null && s("line", { class: "mark", x1: x(state.layer), x2: x(state.layer), y1: margin.top, y2: margin.top + inner.h }),
    rule,
    !narrow && placed(series.map((each) => y(each.values[N - 1])), 30, margin.top + 8, margin.top + inner.h).map((place, i) => [
      s("text", { x: margin.left + inner.w + 12, y: place, fill: series[i].text, style: { fill: series[i].text, "font-weight": 600, opacity: series[i].faint ? 0.6 : 1 } }, cut(series[i].name, margin.right - 14)),
      s("text", { class: "dim number", x: margin.left + inner.w + 12, y: place + 14 }, series[i].label)]));
  const nearest = (event) => {
    const place = (event.clientX - svg.getBoundingClientRect().left - margin.left) / inner.w;
    return clamp(Math.round(place * (N - 1)), 0, N - 1);
  };
  const chart = steered(h("div", { class: "drawing" }, svg), label, { x: { key: "layer" } });
  tipped(chart, (event) => {
    const n = nearest(event);
    rule.setAttribute("x1", x(n)); rule.setAttribute("x2", x(n)); rule.setAttribute("visibility", "visible");
    return [`Layer ${meta.layers[n]}`, ...series.map((each) => `${each.name} ${percent(each.values[n])}`
      + (each.low ? ` (${interval(each.low[n], each.high[n])})` : ""))];
  });
  chart.addEventListener("pointerleave", () => rule.setAttribute("visibility", "hidden"));
  chart.addEventListener("click", (event) => toggle("layer", nearest(event)));
  const key = narrow && h("div", { class: "legend" }, series.map((each) =>
    h("span", {}, h("span", { class: "swatch", style: { "--mark": each.colour } }), `${each.name} ${each.label.replace("mean ", "")}`)));
  return h("div", {}, h("div", { class: "muted", style: { "font-size": "0.82rem" } }, unit), chart, key);
}

// Places for labels at least `gap` apart, as near as possible to where they belong.
function placed(ends, gap, low, high) {
  const order = range(ends.length).sort((a, b) => ends[a] - ends[b]);
  const places = ends.slice();
  order.forEach((i, rank) => { if (rank) places[i] = Math.max(ends[i], places[order[rank - 1]] + gap); });
  let limit = high;
  for (const i of order.toReversed()) { places[i] = clamp(places[i], low, limit); limit = places[i] - gap; }
  return places;
}

function categorySeries() {
  const { meta, arrays } = run();
  const N = meta.layers.length;
  const values = (array, i, c) => Float32Array.from(range(N), (n) => at(array, state.task, i, n, c));
  return shownCategories().map((c) => ({
    name: categoryName(c), colour: categoryColour(c), text: `var(--text-${CATEGORY_KEYS[c]})`,
    faint: state.category !== null && state.category !== c,
    values: values(arrays.category, 0, c), low: values(arrays.category, 1, c), high: values(arrays.category, 2, c),
    middle: state.category === c && [values(arrays.spread, 0, c), values(arrays.spread, 1, c)],
    outer: state.category === c && [values(arrays.spread, 2, c), values(arrays.spread, 3, c)],
    label: `mean ${percent(at(arrays.category_overall, state.task, 0, c))}`,
  }));
}
