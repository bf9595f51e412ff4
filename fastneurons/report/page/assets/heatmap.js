// Heat map of layers by languages: the share of a layer's neurons that a language activates.

// A bar beside each row gives its mean over layers, with its interval.
function languagesFigure() {
  return figure({
    id: "languages", title: "Activated neurons by layer and language", uses: ["task", "layer", "language"],
    text: () => run().meta.corpus
      ? "Activation probability: the share of a language's tokens that activate a neuron, mean over a layer's neurons."
      : "Share of a layer's neurons that a prompt of each language activates, mean over examples. At the right, the mean over all layers.",
    draw: (body, width) => {
      const { meta, arrays } = run();
      const order = languageOrder();
      body.append(heatMap({
        width, rows: order, label: "Activated neurons by layer and language",
        value: (k, n) => at(arrays.activated, state.task, k, n),
        total: (k) => [0, 1, 2].map((i) => at(arrays.activated_overall, state.task, i, k)),
        what: meta.corpus ? "of tokens activate a neuron" : "of neurons activated",
      }));
    },
    numbers: () => {
      const { meta, arrays } = run();
      return {
        columns: ["language", "mean", "95 % interval, low", "95 % interval, high", ...meta.layers.map((l) => `layer ${l}`)],
        rows: languageOrder().map((k) => [languageName(k),
          ...[0, 1, 2].map((i) => at(arrays.activated_overall, state.task, i, k)), ...row(arrays.activated, state.task, k)]),
      };
    },
  });
}

// Languages from the most to the fewest activated neurons.
function languageOrder() {
  const { meta, arrays } = run();
  const mean = (k) => at(arrays.activated_overall, state.task, 0, k);
  return range(meta.languages.length).sort((a, b) => (mean(b) || 0) - (mean(a) || 0));
}

function heatMap({ width, rows, value, total, what, label }) {
  const { meta } = run();
  const N = meta.layers.length, narrow = width < 560;
  const left = narrow ? 34 : Math.min(150, 16 + 7 * Math.max(...rows.map((k) => languageName(k).length)));
  const right = total ? (narrow ? 52 : 150) : 8;
  const rowHeight = rows.length > 20 ? 16 : 24;
  const w = (width - left - right) / N, top = 4, height = top + rows.length * rowHeight + 40;
  const shares = rows.flatMap((k) => range(N).map((n) => value(k, n))).filter(Number.isFinite);
  // One outlying layer must not make all others look alike: the scale ends where that of the others does.
  const tops = range(N).map((n) => Math.max(...rows.map((k) => value(k, n)).filter(Number.isFinite))).sort((a, b) => b - a);
  const clipped = N > 4 && tops[0] > 1.2 * tops[1], low = Math.min(...shares), high = clipped ? tops[1] : tops[0];
  const colour = ramp(), scaled = (share) => (high > low ? (share - low) / (high - low) : 0.5);
  const every = Math.ceil(N / Math.max(2, (width - left - right) / 30));
  const most = total ? Math.max(...rows.map((k) => total(k)[2] || total(k)[0] || 0)) : 1;
  const bar = (share) => (share / most) * (right - 66);
  const marked = (k, n) => (state.language === k || state.layer === n) && (state.language === null || state.language === k) && (state.layer === null || state.layer === n);
  const svg = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" },
    rows.map((k, r) => {
      const y = top + r * rowHeight;
      const chosen = state.language === k;
      return [
        s("text", { x: left - 8, y: y + rowHeight / 2 + 4, "text-anchor": "end", style: chosen ? { "font-weight": 700 } : {} },
          narrow ? meta.languages[k].code.slice(0, 5) : languageName(k)),
        range(N).map((n) => s("rect", { class: "cell", x: left + n * w, y, width: Math.max(0.5, w - (w > 6 ? 1 : 0)), height: rowHeight - 1,
          fill: Number.isFinite(value(k, n)) ? colour(scaled(value(k, n))).css : "var(--tint)" })),
        total && !narrow && [
          s("rect", { x: left + N * w + 10, y: y + rowHeight / 2 - 3, width: Math.max(0, bar(total(k)[0])), height: 6, fill: "var(--mid)" }),
          Number.isFinite(total(k)[1]) && s("line", { class: "mark", x1: left + N * w + 10 + bar(total(k)[1]), x2: left + N * w + 10 + bar(total(k)[2]), y1: y + rowHeight / 2, y2: y + rowHeight / 2 })],
        total && s("text", { class: "number", x: width - 2, y: y + rowHeight / 2 + 4, "text-anchor": "end", style: chosen ? { "font-weight": 700 } : {} }, percent(total(k)[0])),
      ];
    }),
    meta.layers.map((layer, n) => n % every === 0 && s("text", { class: "dim number", x: left + (n + 0.5) * w, y: height - 22, "text-anchor": "middle" }, layer)),
    s("text", { class: "dim", x: left + (N * w) / 2, y: height - 5, "text-anchor": "middle" }, "layer"),
    state.layer !== null && s("rect", { class: "mark", x: left + state.layer * w - 0.5, y: top - 1.5, width: w, height: rows.length * rowHeight + 1, rx: 2 }),
    rows.includes(state.language) && s("rect", { class: "mark", x: left - 1, y: top + rows.indexOf(state.language) * rowHeight - 1, width: N * w + 1, height: rowHeight, rx: 2 }));
  const find = (event) => {
    const box = svg.getBoundingClientRect();
    const n = Math.floor((event.clientX - box.left - left) / w), r = Math.floor((event.clientY - box.top - top) / rowHeight);
    return r >= 0 && r < rows.length && n < N ? { k: rows[r], n: n < 0 ? null : n } : null;
  };
  const drawing = steered(h("div", { class: "drawing" }, svg), label, { x: { key: "layer" }, y: { key: "language", order: rows } });
  tipped(drawing, (event) => {
    const found = find(event);
    if (!found) return null;
    if (found.n === null) return [languageName(found.k)];
    return [`${languageName(found.k)}, layer ${meta.layers[found.n]}`, `${percent(value(found.k, found.n))} ${what}`];
  });
  drawing.addEventListener("click", (event) => {
    const found = find(event);
    if (!found) return;
    if (found.n === null) toggle("language", found.k);
    else if (state.language === found.k && state.layer === found.n) select({ language: null, layer: null });
    else select({ language: found.k, layer: found.n });
  });
  return h("div", {}, drawing, rampLegend(percent(low), clipped ? `${percent(high)} and more, up to ${percent(tops[0])}` : percent(high)));
}
