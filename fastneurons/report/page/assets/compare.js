// Two runs side by side: the same axes for both, and where they can be paired, the differences with their intervals.

let other = null; // the run beside the chosen one

// Runs that the chosen one can stand beside: those with categories.
const comparable = () => range(runs.length).filter((r) => r !== state.run && runs[r].arrays.category);

function compareFigure() {
  if (!comparable().includes(other)) [other] = comparable();
  const picker = h("label", { class: "field" }, h("span", { class: "label" }, "Beside"),
    h("select", { onchange: (event) => { other = Number(event.target.value); figures.get("compare").redraw(); } }));
  return figure({
    id: "compare", title: "Two runs side by side", uses: ["task", "layer", "category"], tools: picker,
    text: () => {
      if (!comparable().includes(other)) [other] = comparable();
      picker.querySelector("select").replaceChildren(...comparable().map((r) =>
        h("option", { value: r, selected: r === other }, runName(r))));
      const found = pairing();
      const c = comparedCategory();
      return found.reason ? `Share of ${categoryName(c)} neurons by layer. These runs cannot be paired example by example: ${found.reason}.`
        : `Share of ${categoryName(c)} neurons by layer, and the difference between the runs on the same ${plural(found.examples, "example")}. ${differing(found)}`;
    },
    draw: async (body, width) => {
      const c = comparedCategory();
      const a = runs[state.run], b = runs[other];
      const same = a.meta.layers.length === b.meta.layers.length;
      const lines = (one, colour, text, dash) => {
        const N = one.meta.layers.length, values = (i) => Float32Array.from(range(N), (n) => at(one.arrays.category, 0, i, n, c));
        return { name: one.title, colour, text, dash, values: values(0), low: values(1), high: values(2), label: `mean ${percent(at(one.arrays.category_overall, 0, 0, c))}` };
      };
      if (!same) { body.append(h("p", { class: "notice" }, "The models have different numbers of layers; choose the other run above to see it.")); return; }
      body.append(layerChart(width, { height: 300, label: "Two runs by layer", series: [
        lines(a, categoryColour(c), `var(--text-${CATEGORY_KEYS[c]})`), lines(b, "var(--muted)", "var(--muted)", "5 3")] }));
      const found = pairing();
      if (!found.reason) body.append(h("h3", {}, `${b.title} less ${a.title}, in percentage points`), differences(width, found, c), ...[changedNeurons(found) || []].flat());
    },
    numbers: () => {
      const found = pairing();
      const a = runs[state.run], b = runs[other];
      const N = Math.min(a.meta.layers.length, b.meta.layers.length);
      return {
        columns: ["layer", "category", a.title, b.title, ...(found.reason ? [] : ["difference", "95 % interval, low", "95 % interval, high"])],
        rows: range(N).flatMap((n) => shownCategories().map((c) => [a.meta.layers[n], categoryName(c), at(a.arrays.category, 0, 0, n, c), at(b.arrays.category, 0, 0, n, c),
          ...(found.reason ? [] : [0, 1, 2].map((i) => found.sign * at(found.arrays.difference, found.sign < 0 ? [0, 2, 1][i] : i, n, c)))])),
      };
    },
  });
}

// Whether the runs differ at all, and how many neurons do.
function differing({ identical, p, significant, neurons }) {
  if (identical) return "Not a single bit differs between them.";
  const overall = p === null ? "" : `The probability of differences this large, if the runs were exchangeable, is ${p < 0.01 ? "below 0.01" : p.toFixed(2)}. `;
  return significant === undefined ? overall
    : `${overall}${count(significant)} of ${count(neurons)} neurons changed their category (at a false discovery rate of 5${NBSP}%).`;
}

// The neurons that changed their category in the most examples, as links to their pages.
function changedNeurons({ arrays, examples }) {
  const { meta } = run();
  const shown = range(Math.min(10, arrays.changed_neuron?.shape[0] ?? 0)).filter((i) => at(arrays.changed_examples, i) > 0);
  return shown.length > 0 && [h("h3", {}, "Neurons that changed most"), h("ul", { class: "inline" }, shown.map((i) => {
    const layer = at(arrays.changed_layer, i), neuron = at(arrays.changed_neuron, i);
    return h("li", {}, h("a", { href: `#layer=${meta.layers[layer]}&neuron=${neuron}`, onclick: (event) => {
      event.preventDefault();
      select({ layer, neuron }, { page: true });
    } }, `${meta.layers[layer]}:${neuron}`), ` in ${percent(at(arrays.changed_examples, i) / examples, 0)} of examples`);
  }))];
}

const runName = (r) => `${r + 1}: ${runs[r].title}`;
const comparedCategory = () => state.category ?? 3;

// The comparison of the chosen run with the other one; its differences are of the later run less the earlier.
function pairing() {
  const [first, second] = [state.run, other].sort((x, y) => x - y);
  const found = comparisons.get(`${first}-${second}`);
  if (!found) return { reason: "nothing was compared" };
  return found.meta.reason ? { reason: found.meta.reason } : { ...found.meta, arrays: found.arrays, sign: other > state.run ? 1 : -1 };
}

function differences(width, { arrays, sign }, c) {
  const { meta } = run();
  const N = meta.layers.length, left = 46, right = width < 560 ? 14 : 150, height = 170, base = 14, h0 = height - base - 34;
  const value = (i, n) => sign * at(arrays.difference, sign < 0 ? [0, 2, 1][i] : i, n, c);
  const most = Math.max(1e-4, ...range(N).flatMap((n) => [Math.abs(value(1, n)), Math.abs(value(2, n))]).filter(Number.isFinite)) * 1.08;
  const y = (v) => base + h0 / 2 - (v / most) * (h0 / 2), x = (n) => left + ((n + 0.5) * (width - left - right)) / N;
  const every = Math.ceil(N / Math.max(2, (width - left - right) / 34)), steps = ticks(most, 2);
  const svg = s("svg", { width, height, "aria-hidden": "true" },
    [...steps.slice(1).map((v) => -v), ...steps].map((v) => [s("line", { class: v ? "grid" : "axis", x1: left, x2: width - right, y1: y(v), y2: y(v) }),
      s("text", { class: "dim number", x: left - 8, y: y(v) + 4, "text-anchor": "end" }, v ? points(v) : "0")]),
    range(N).map((n) => {
      const sure = value(1, n) > 0 || value(2, n) < 0;
      return [s("line", { x1: x(n), x2: x(n), y1: y(value(1, n)), y2: y(value(2, n)), stroke: categoryColour(c), "stroke-width": 5, opacity: 0.35 }),
        s("circle", { cx: x(n), cy: y(value(0, n)), r: 4, fill: sure ? categoryColour(c) : "var(--page)", stroke: categoryColour(c), "stroke-width": 1.5 })];
    }),
    meta.layers.map((layer, n) => n % every === 0 && s("text", { class: "dim number", x: x(n), y: height - 18, "text-anchor": "middle" }, layer)),
    s("text", { class: "dim", x: left, y: height - 3 }, "layer; filled: the 95 % interval excludes 0"));
  return tipped(h("div", { class: "drawing" }, svg), (event) => {
    const n = Math.floor(((event.clientX - svg.getBoundingClientRect().left - left) / (width - left - right)) * N);
    return n >= 0 && n < N ? [`Layer ${meta.layers[n]}`, `${points(value(0, n))} points (${points(value(1, n))} to ${points(value(2, n))})`] : null;
  });
}
