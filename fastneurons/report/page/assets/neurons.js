// The table of neurons, and the page of one.

// Rows {layer, neuron, shares: [4], languages: [L] or null}: of all layers those that stand out, with exact counts;
// of a chosen layer all of them.
async function neuronRows() {
  const { meta } = run();
  if (!meta.corpus && (state.layer === null || !meta.strips)) {
    const { arrays } = await block(`${run().name}/listed`);
    const rows = range(arrays.layer.shape[0]).map((m) => listedRow(arrays, m));
    return state.layer === null ? rows : rows.filter((each) => each.layer === state.layer);
  }
  const all = await planes(run(), shownLayer());
  return range(meta.neurons).map((i) => planeRow(all, shownLayer(), i));
}

function listedRow(arrays, m) {
  const g = state.task, n = at(arrays.examples, g);
  return {
    layer: at(arrays.layer, m), neuron: at(arrays.neuron, m), listed: m,
    q: arrays.q ? at(arrays.q, m) : NaN,
    shares: arrays.category ? range(4).map((c) => at(arrays.category, g, m, c) / n) : null,
    languages: arrays.language ? run().meta.languages.map((_, k) => at(arrays.language, g, k, m) / at(arrays.present, g, k)) : null,
  };
}

function planeRow(all, layer, i) {
  const { meta } = run(), g = stripGroup(), scale = meta.strips.scale[g], each = scale.length;
  const share = (p) => all[g * each + p][i] / (scale[p] || 1);
  const three = meta.corpus ? null : [0, 1, 2].map(share), first = meta.corpus ? 0 : 3;
  return {
    layer, neuron: i,
    shares: three && [Math.max(0, 1 - sum(three)), ...three],
    languages: meta.strips.languages ? meta.languages.map((_, k) => share(first + k)) : null,
  };
}

async function neuronRow(layer, i) {
  if (run().meta.corpus) return { ...planeRow(await planes(run(), layer), layer, i), exact: run().meta.strips.exact };
  const { arrays } = await block(`${run().name}/listed`);
  for (let m = 0; m < arrays.layer.shape[0]; m++) {
    if (at(arrays.layer, m) === layer && at(arrays.neuron, m) === i) return { ...listedRow(arrays, m), exact: true };
  }
  return run().meta.strips ? { ...planeRow(await planes(run(), layer), layer, i), exact: run().meta.strips.exact } : null;
}

const topLanguage = (each) => (each.languages ? each.languages.reduce((best, v, k) => (v > each.languages[best] ? k : best), 0) : null);

// By how much the most active language exceeds the second.
function lead(each) {
  if (!each.languages || each.languages.length < 2) return NaN;
  const sorted = each.languages.slice().sort((a, b) => b - a);
  return sorted[0] - sorted[1];
}

// How many neurons prefer a language, where that could be tested.
const preferringSentence = ({ preferring, rate }) => (preferring === null ? ""
  : `Of all neurons, ${count(preferring)} prefer one language (q up to ${rate}: of these, about one in ${Math.round(1 / rate)} or fewer by chance).`);

function neuronsFigure() {
  let table;
  let preferring = "";
  return figure({
    id: "neurons", title: "Neurons", uses: ["task", "layer", "language", "category"],
    text: () => {
      const { meta } = run();
      const which = state.layer === null && !meta.corpus
        ? "Neurons that stand out, over all layers: the most frequent of each category and the most specific of each language. Choose a layer to list all of its neurons."
        : `All ${count(meta.neurons)} neurons of ${layerName(shownLayer())}.`;
      const precise = state.layer !== null || meta.corpus ? rounding() : "";
      const found = state.layer === null && preferring ? ` ${preferring}` : "";
      return `${which}${found}${meta.corpus ? " Shares of tokens." : " Shares of examples."}${precise}`;
    },
    draw: async (body) => {
      const { meta } = run();
      const rows = await neuronRows();
      if (hasBlock(`${run().name}/listed`)) preferring = preferringSentence((await block(`${run().name}/listed`)).meta);
      const shown = state.category !== null ? [state.category] : shownCategories().filter((c) => c);
      const columns = [
        { name: "neuron", cell: (r) => `${meta.layers[r.layer]}:${r.neuron}`, value: (r) => `${meta.layers[r.layer]}:${r.neuron}` },
        ...(meta.corpus ? [] : [{ name: "categories", cell: (r) => stack(r.shares) }]),
        ...(meta.corpus ? [] : shown.map((c) => ({ name: categoryName(c), numeric: true, cell: (r) => percent(r.shares[c]), value: (r) => r.shares[c] }))),
      ];
      columns.forEach((column) => { column.value ??= (r) => -r.shares[0]; });
      if (rows[0]?.languages) {
        if (state.language !== null) {
          columns.push({ name: languageName(state.language), numeric: true, cell: (r) => percent(r.languages[state.language]), value: (r) => r.languages[state.language] });
        }
        columns.push({ name: "most active language", cell: (r) => `${languageName(topLanguage(r))} ${percent(r.languages[topLanguage(r)])}`, value: (r) => languageName(topLanguage(r)) },
          { name: "lead over the next", numeric: true, cell: (r) => percent(lead(r)), value: lead });
        if (Number.isFinite(rows[0].q)) columns.push({ name: "q", numeric: true, cell: (r) => small(r.q), value: (r) => r.q });
      }
      const by = state.language !== null && rows[0]?.languages ? columns.findIndex((c) => c.name === languageName(state.language))
        : state.category !== null ? columns.findIndex((c) => c.name === categoryName(state.category)) : columns.findIndex((c) => c.value === lead || (!rows[0]?.languages && c.name === categoryName(3)));
      const kept = table?.filter.value ?? "";
      table = new SortedTable({
        file: () => `neurons${state.layer === null ? "" : `-layer-${meta.layers[state.layer]}`}.csv`, label: "Neurons", columns,
        placeholder: "layer:neuron or language", sort: { by: Math.max(0, by), down: true },
        find: (r, words) => `${meta.layers[r.layer]}:${r.neuron}`.startsWith(words) || (r.languages && languageName(topLanguage(r)).toLowerCase().includes(words)),
        open: (r) => ({ address: `#layer=${meta.layers[r.layer]}&neuron=${r.neuron}`, go: () => select({ layer: r.layer, neuron: r.neuron }, { page: true }) }),
      });
      table.filter.value = kept;
      table.set(rows);
      body.append(table.element);
    },
  });
}

// A probability, with the digits that count.
const small = (p) => (p < 0.001 ? "<0.001" : p.toFixed(3));

// -- the page of one neuron --------------------------------------------------------------------------------

async function neuronPage(body, width) {
  const { meta } = run();
  const layer = state.layer, i = state.neuron, found = await neuronRow(layer, i);
  const go = (step) => select({ neuron: clamp(i + step, 0, meta.neurons - 1) }, { page: true });
  body.append(
    h("div", { class: "steps" },
      h("button", { class: "plain", type: "button", onclick: () => select({ neuron: null }, { page: true }) }, "← All views"),
      h("button", { class: "plain", type: "button", disabled: i === 0, onclick: () => go(-1) }, "Previous neuron"),
      h("button", { class: "plain", type: "button", disabled: i === meta.neurons - 1, onclick: () => go(1) }, "Next neuron")),
    h("h1", { tabindex: -1, id: "single-title" }, `Layer ${meta.layers[layer]}, neuron ${i}`));
  if (!found) {
    body.append(h("p", {}, "This page has no data on it: a single file of this run holds only the neurons that stand out. A report written with --folder has all."));
    return;
  }
  const whole = meta.corpus ? "of the language's tokens" : "of examples";
  const precise = found.exact ? "" : rounding();
  body.append(h("p", { class: "muted" }, `${meta.model}, ${meta.groups[state.task]}; activated: ${meta.signal} above ${meta.threshold} ${meta.where}.${precise}`));
  const left = h("div"), right = h("div");
  body.append(h("div", { class: "columns" }, left, right));
  if (found.shares) {
    left.append(h("h2", {}, "In which categories"), stack(found.shares), h("div", { class: "bars", style: { "margin-top": "0.7rem" } },
      shownCategories().map((c) => [h("span", {}, h("span", { class: "swatch", style: { "--mark": categoryColour(c) } }), categoryName(c)), h("span"),
        h("span", { class: "number", "data-share": found.shares[c] }, `${percent(found.shares[c])} of examples`)])));
  }
  if (found.languages) {
    const order = range(meta.languages.length).sort((a, b) => found.languages[b] - found.languages[a]);
    right.append(h("h2", {}, "In which languages"), h("div", { class: "bars" }, order.map((k) => [h("span", {}, languageName(k)),
      h("span", { class: "bar-track", "aria-hidden": "true" }, h("span", { style: { width: `${100 * found.languages[k]}%` } })),
      h("span", { class: "number", "data-share": found.languages[k] }, percent(found.languages[k]))])), h("p", { class: "muted" }, `Share ${whole} that activate it.`));
  }
  if (meta.strips) {
    const { share } = await stripValues();
    body.append(h("h2", {}, `Among the ${count(meta.neurons)} neurons of its layer, by ${stripWhat("each")}`), histogram(width, share, i));
  }
  if (found.listed !== undefined && hasBlock(`${run().name}/patterns`)) await neuronExamples(body, width, found.listed);
  body.querySelector("#single-title").focus({ preventScroll: true });
}

// Where a listed neuron is activated: examples by languages, and the examples with the most and the fewest languages.
async function neuronExamples(body, width, m) {
  const { meta } = run();
  const [{ arrays }, examples] = await Promise.all([block(`${run().name}/patterns`), exampleTable()]);
  const L = meta.languages.length, shown = examples.length;
  const on = (k, e) => (at(arrays.bits, m, k, e >> 3) >> (e & 7)) & 1;
  const languages = range(shown).map((e) => sum(range(L).map((k) => on(k, e))));
  const order = languageOrder();
  const number = new Array(L + 1).fill(0);
  languages.forEach((n) => number[n]++);
  const most = Math.max(...number);
  body.append(h("h2", {}, "In how many languages at once"), h("div", { class: "bars" }, number.map((n, k) => [h("span", {}, plural(k, "language")),
    h("span", { class: "bar-track", "aria-hidden": "true" }, h("span", { style: { width: `${(100 * n) / most}%`, background: categoryColour(k === 0 ? 0 : k === L ? 3 : k === 1 ? 1 : 2) } })),
    h("span", { class: "number" }, plural(n, "example"))])));
  const left = width < 560 ? 40 : 130, cell = clamp(Math.floor((width - left) / shown), 2, 12), columns = Math.floor((width - left) / cell);
  const lines = Math.ceil(shown / columns), rowHeight = 12, gap = 10;
  const scale = window.devicePixelRatio || 1, height = lines * (L * rowHeight + gap);
  const canvas = h("canvas", { width: (left + columns * cell) * scale, height: height * scale, style: { width: `${left + columns * cell}px`, height: `${height}px` }, role: "img",
    "aria-label": `Examples by languages: ${meta.languages.map((_, k) => `${languageName(k)} ${sum(range(shown).map((e) => on(k, e)))}`).join(", ")} of ${shown} examples` });
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = `11px ${getComputedStyle(document.documentElement).fontFamily}`;
  pen.textAlign = "right";
  const colours = CATEGORY_KEYS.map(variable), off = variable("tint"), ink = variable("ink");
  // Examples with the most languages first, so that the pattern can be seen.
  const byLanguages = range(shown).sort((a, b) => languages[b] - languages[a] || a - b);
  const place = (r, p) => [left + (p % columns) * cell, Math.floor(p / columns) * (L * rowHeight + gap) + r * rowHeight];
  byLanguages.forEach((e, p) => order.forEach((k, r) => {
    const [x, y] = place(r, p), n = languages[e];
    pen.fillStyle = on(k, e) ? colours[n === L ? 3 : n === 1 ? 1 : 2] : off;
    pen.fillRect(x, y, cell - (cell > 4 ? 1 : 0.3), rowHeight - 1);
  }));
  pen.fillStyle = ink;
  for (let line = 0; line < lines; line++) order.forEach((k, r) => pen.fillText(width < 560 ? meta.languages[k].code.slice(0, 5) : languageName(k), left - 8, place(r, line * columns)[1] + 10));
  const find = (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - left) / cell), line = Math.floor((event.clientY - box.top) / (L * rowHeight + gap));
    return column >= 0 && column < columns ? byLanguages[line * columns + column] : undefined;
  };
  const drawing = tipped(h("div", { class: "drawing" }, canvas), (event) => {
    const e = find(event);
    return e === undefined ? null : [examples[e].id, languages[e] ? order.filter((k) => on(k, e)).map(languageName).join(", ") : "in no language"];
  });
  drawing.addEventListener("click", (event) => { const e = find(event); if (e !== undefined) openExample(examples[e]); });
  body.append(h("h2", {}, `Activated where: each column is one of ${plural(shown, "example")}, each row a language`), drawing);
  const list = (title, chosen) => h("div", {}, h("h2", {}, title), h("ul", {}, chosen.map((e) => h("li", {}, h("a", { href: `#example=${examples[e].index}`, dir: "auto",
    onclick: (event) => { event.preventDefault(); openExample(examples[e]); } }, examples[e].id), ` – ${plural(languages[e], "language")}`))));
  body.append(h("div", { class: "columns" }, list("Examples with the most languages", byLanguages.slice(0, 6)), list("With the fewest", byLanguages.slice(-6).reverse())));
}
