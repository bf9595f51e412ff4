// Attribution: how the contribution of neurons divides among the categories, beside how many neurons those are.

let contributionShows = "sum_share";

function contributionFigure() {
  const { meta } = run();
  const tools = choices("Of what", [["sum_share", "summed scores"], ["contribution_share", `top ${count(meta.top_k)} neurons`]], () => contributionShows, (value) => {
    contributionShows = value;
    figures.get("contribution").redraw();
  });
  return figure({
    id: "contribution", title: "Which neurons contribute", uses: ["layer", "language", "category"], tools,
    text: () => "The upper bar divides all neurons into categories. Those below divide, for each language, "
      + (contributionShows === "sum_share" ? "the sum of all contribution scores" : `the ${count(meta.top_k)} neurons of a layer with the highest contribution scores`)
      + ` (${state.layer === null ? "mean over layers" : layerName(state.layer)}${meta.tasks.length > 1 ? ", all tasks together" : ""}).`,
    draw: (body, width) => body.append(contributionBars(width)),
    numbers: () => {
      const { meta, arrays } = run();
      const scores = ["contribution_mean", "contribution_max", "contribution_sum", "effective_mean"].filter((name) => arrays[`${name}_by_language`]);
      const words = { contribution_mean: "contribution score, mean", contribution_max: "max", contribution_sum: "sum", effective_mean: "effective score, mean" };
      return {
        columns: ["language", "category", "share of summed scores", "95 % interval, low", "95 % interval, high", "share of the top neurons", "95 % interval, low", "95 % interval, high", ...scores.map((name) => words[name])],
        rows: meta.languages.flatMap((_, k) => shownCategories().map((c) => [languageName(k), categoryName(c),
          ...["sum_share", "contribution_share"].flatMap((name) => [0, 1, 2].map((i) => at(arrays[`${name}_by_language`], i, k, c))), ...scores.map((name) => at(arrays[`${name}_by_language`], 0, k, c))])),
      };
    },
  });
}

function contributionBars(width) {
  const { meta, arrays } = run();
  const narrow = width < 560, left = narrow ? 78 : 150;
  const share = (k, c) => (state.layer === null ? at(arrays[`${contributionShows}_by_language`], 0, k, c) : at(arrays[`${contributionShows}_by_language_and_layer`], k, state.layer, c));
  const neurons = (c) => (state.layer === null ? at(arrays.category_overall, 0, 0, c) : at(arrays.category, 0, 0, state.layer, c));
  const order = languageOrder();
  const rows = [{ name: "all neurons", values: range(4).map(neurons), head: true },
    ...order.map((k) => ({ name: narrow ? meta.languages[k].code : languageName(k), k, values: range(4).map((c) => share(k, c)) }))];
  const rowHeight = 24, w = width - left - 8;
  const y = (r) => r * rowHeight + (r ? 12 : 0);
  const height = y(rows.length) + 26;
  const drawn = rows.flatMap((each, r) => {
    let from = 0;
    return [s("text", { x: left - 10, y: y(r) + 16, "text-anchor": "end", style: each.head || state.language === each.k ? { "font-weight": 650 } : {} }, each.name),
      ...[3, 2, 1, 0].map((c) => {
        const value = each.values[c];
        if (!(value > 0)) return null;
        const x = left + from * w;
        from += value;
        const faint = state.category !== null && state.category !== c;
        return [s("rect", { class: "cell", x, y: y(r) + 1, width: Math.max(0.5, value * w - 1), height: rowHeight - 4, fill: categoryColour(c), opacity: faint ? 0.3 : each.head ? 0.6 : 1 }),
          value * w > 42 && s("text", { class: "number", x: x + 6, y: y(r) + 16, style: { fill: each.head || faint ? "var(--ink)" : `var(--on-${CATEGORY_KEYS[c]})`, "font-size": "11.5px", "pointer-events": "none" } }, percent(value))];
      })];
  });
  const svg = s("svg", { width, height, "aria-hidden": "true" }, drawn,
    [0, 0.25, 0.5, 0.75, 1].map((v) => s("text", { class: "dim number", x: left + v * w, y: height - 6, "text-anchor": v === 1 ? "end" : v ? "middle" : "start" }, percent(v, 0))));
  const drawing = steered(h("div", { class: "drawing" }, svg), "Contribution by category and language", { x: { key: "layer" }, y: { key: "language", order } });
  const find = (event) => rows.findIndex((_, r) => { const v = event.clientY - svg.getBoundingClientRect().top; return v >= y(r) && v < y(r) + rowHeight; });
  tipped(drawing, (event) => {
    const found = rows[find(event)];
    return found ? [found.head ? "All neurons" : languageName(found.k), ...shownCategories().map((c) => `${categoryName(c)} ${percent(found.values[c])}`)] : null;
  });
  drawing.addEventListener("click", (event) => { const found = rows[find(event)]; if (found && !found.head) toggle("language", found.k); });
  return h("div", {}, drawing, h("div", { class: "legend" }, shownCategories().map((c) => h("span", {}, h("span", { class: "swatch", style: { "--mark": categoryColour(c) } }), categoryName(c)))));
}
