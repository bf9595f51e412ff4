// Overlap of each pair of languages, in the order of a dendrogram that is drawn beside it.

let matrixShows = "jaccard";

function matrixFigure() {
  const tools = choices("Show", [["jaccard", "overlap"], ["excess", "beyond chance"]], () => matrixShows, (value) => {
    matrixShows = value;
    figures.get("matrix").redraw();
  });
  return figure({
    id: "matrix", title: "Which languages share neurons", half: true, uses: ["task", "layer", "language"], tools,
    text: () => {
      const where = `${layerName(state.layer)[0].toUpperCase()}${layerName(state.layer).slice(1)}`;
      return matrixShows === "jaccard"
        ? `${where}: of the neurons that either language activates for an example, the share that both do (Jaccard index). Languages that overlap most are neighbours.`
        : `${where}: overlap less what as many neurons drawn at random would give.`;
    },
    draw: (body, width) => body.append(languageMatrix(width)),
    numbers: () => {
      const { meta } = run(), L = meta.languages.length;
      const rows = [];
      for (let a = 0; a < L; a++) for (let b = a + 1; b < L; b++) {
        rows.push([languageName(a), languageName(b), pairValue("jaccard", a, b), pairValue("jaccard_low", a, b), pairValue("jaccard_high", a, b),
          pairValue("chance", a, b), pairValue("unpaired", a, b)]);
      }
      return { columns: ["language", "language", "overlap", "95 % interval, low", "95 % interval, high", "by chance", "between different examples"],
        rows: rows.sort((x, y) => y[2] - x[2]) };
    },
  });
}

// Arrays of pairs are [G, N + 1, P], the last layer being all of them together.
function pairValue(name, a, b) {
  const { meta, arrays } = run(), L = meta.languages.length;
  const [first, second] = a < b ? [a, b] : [b, a];
  const pair = (first * (2 * L - first - 1)) / 2 + second - first - 1;
  return at(arrays[name], state.task, state.layer ?? meta.layers.length, pair);
}

const matrixValue = (a, b) => (matrixShows === "jaccard" ? pairValue("jaccard", a, b) : pairValue("jaccard", a, b) - pairValue("chance", a, b));

function languageMatrix(width) {
  const { meta, arrays } = run();
  const L = meta.languages.length, place = state.layer ?? meta.layers.length;
  const order = Array.from(row(arrays.leaves, state.task, place));
  const narrow = width < 480;
  const left = narrow ? 40 : Math.min(130, 14 + 7 * Math.max(...meta.languages.map((each) => each.name.length)));
  const tree = narrow ? 46 : 90, bottom = 44;
  const cell = Math.min(44, (width - left - tree - 8) / L), size = cell * L;
  const values = [];
  for (let a = 0; a < L; a++) for (let b = 0; b < a; b++) values.push(matrixValue(a, b));
  const finite = values.filter(Number.isFinite);
  const low = Math.min(...finite), high = Math.max(...finite), scaled = (v) => (high > low ? (v - low) / (high - low) : 0.5);
  const colour = ramp();
  const label = (k) => (narrow ? meta.languages[k].code.slice(0, 5) : languageName(k));
  const svg = s("svg", { width: left + size + tree + 8, height: size + bottom, "aria-hidden": "true" },
    order.map((a, r) => [
      s("text", { x: left - 8, y: (r + 0.5) * cell + 4, "text-anchor": "end", style: state.language === a ? { "font-weight": 700 } : {} }, label(a)),
      s("text", { class: "dim", x: left + (r + 0.5) * cell, y: size + 16, "text-anchor": "middle", style: state.language === a ? { "font-weight": 700 } : {} }, meta.languages[a].code.slice(0, 7)),
      order.map((b, c) => {
        if (a === b) return s("rect", { x: left + c * cell, y: r * cell, width: cell - 1, height: cell - 1, fill: "var(--tint)" });
        const value = matrixValue(a, b), shade = colour(scaled(value));
        return [s("rect", { class: "cell", x: left + c * cell, y: r * cell, width: cell - 1, height: cell - 1, fill: shade.css }),
          cell >= 30 && s("text", { class: "number", x: left + (c + 0.5) * cell - 0.5, y: (r + 0.5) * cell + 4, "text-anchor": "middle", style: { fill: inkOn(shade.rgb), "pointer-events": "none", "font-size": "11px" } }, Math.round(100 * value))];
      })]),
    order.includes(state.language) && s("rect", { class: "mark", x: left - 1, y: order.indexOf(state.language) * cell - 1, width: size + 1, height: cell, rx: 2 }),
    s("g", { transform: `translate(${left + size + 6},0)` }, dendrogram(order, cell, tree - 10)),
    s("text", { class: "dim", x: left, y: size + 38 }, cell >= 30 ? "per cent of neurons" : ""));
  const find = (event) => {
    const box = svg.getBoundingClientRect();
    const c = Math.floor((event.clientX - box.left - left) / cell), r = Math.floor((event.clientY - box.top) / cell);
    return r >= 0 && r < L ? { a: order[r], b: c >= 0 && c < L ? order[c] : null } : null;
  };
  const drawing = steered(h("div", { class: "drawing" }, svg), "Overlap of languages", { x: { key: "layer" }, y: { key: "language", order } });
  tipped(drawing, (event) => {
    const found = find(event);
    if (!found || found.b === null || found.a === found.b) return null;
    const { a, b } = found;
    return [`${languageName(a)} and ${languageName(b)}`, `${percent(pairValue("jaccard", a, b))} of the neurons of either are activated in both (${interval(pairValue("jaccard_low", a, b), pairValue("jaccard_high", a, b))})`,
      `by chance: ${percent(pairValue("chance", a, b))}`, `between different examples: ${percent(pairValue("unpaired", a, b))}`];
  });
  drawing.addEventListener("click", (event) => { const found = find(event); if (found) toggle("language", found.a); });
  return h("div", {}, drawing, rampLegend(percent(low), percent(high)));
}

// The tree of scipy's linkage, leaves at the left; a join lies at its distance, 1 - overlap.
function dendrogram(order, cell, width) {
  const { meta, arrays } = run();
  const L = order.length, place = state.layer ?? meta.layers.length;
  const node = range(L).map((k) => ({ x: 0, y: (order.indexOf(k) + 0.5) * cell }));
  const joins = range(L - 1).map((j) => range(4).map((i) => at(arrays.linkage, state.task, place, j, i)));
  const least = Math.min(...joins.map((j) => j[2])), most = Math.max(...joins.map((j) => j[2]));
  // From a little before the first join to the last one: the scale begins where something happens.
  const origin = Math.max(0, least - 0.4 * (most - least || least || 1));
  const x = (distance) => (most > origin ? ((distance - origin) / (most - origin)) * width : width);
  return joins.map(([a, b, distance]) => {
    const first = node[a], second = node[b], across = x(distance);
    node.push({ x: across, y: (first.y + second.y) / 2 });
    return s("path", { d: `M${first.x},${first.y}H${across}V${second.y}H${second.x}`, fill: "none", stroke: "var(--muted)", "stroke-width": 1.3 });
  });
}
