// The table of examples, and the page of one: its prompts, categories by layer, and languages by layer.

// Rows {index, id, task, shares: [4], activated: [L], place}: shares of the chosen layer, or of all.
async function exampleTable() {
  const { meta } = run();
  const { meta: { ids }, arrays } = await block(`${run().name}/examples`);
  const N = meta.layers.length, L = meta.languages.length, I = meta.neurons;
  return ids.map((id, place) => {
    const of = (c) => (state.layer === null ? sum(range(N).map((n) => at(arrays.category, place, n, c))) / N : at(arrays.category, place, state.layer, c)) / I;
    return { id, place, index: at(arrays.index, place), task: at(arrays.task, place), shares: range(4).map(of),
      activated: range(L).map((k) => at(arrays.activated, place, k) / (N * I)) };
  });
}

const openExample = (each) => select({ neuron: null, example: each.index }, { page: true });

// {prompts: [L] or null, texts: [L][C] or null, arrays, e} of an example, from its part.
async function examplePart(place) {
  const size = run().meta.examples.part;
  const { meta, arrays } = await block(`${run().name}/examples/${Math.floor(place / size)}`);
  const e = place % size;
  return { prompts: meta.prompts?.[e] ?? null, texts: meta.texts?.[e] ?? null, arrays, e };
}

function examplesFigure() {
  let table;
  return figure({
    id: "examples", title: "Examples", uses: ["task", "layer", "language", "category"],
    text: () => {
      const { examples } = run().meta;
      const some = examples.shown < examples.measured
        ? ` This file holds the first ${count(examples.shown)} of ${plural(examples.measured, "example")}; --folder writes all.` : "";
      return `Share of neurons in each category for every example, in ${layerName(state.layer)}.${some}`;
    },
    draw: async (body) => {
      const { meta } = run();
      let rows = await exampleTable();
      if (state.task > 0) rows = rows.filter((each) => each.task === state.task - 1);
      const language = state.language ?? 0;
      const prompts = new Map(); // place -> text, of the parts that are decoded
      const load = async (each) => { prompts.set(each.place, (await examplePart(each.place)).prompts?.[language] ?? ""); };
      const columns = [
        { name: "example", prose: true, cell: (r) => r.id, value: (r) => r.id },
        ...(meta.examples.prompts ? [{ name: `prompt in ${languageName(language)}`, prose: true, dir: meta.languages[language].dir, lang: () => meta.languages[language].tag, cell: (r) => prompts.get(r.place) ?? "…", value: (r) => prompts.get(r.place) ?? "" }] : []),
        ...(meta.tasks.length > 1 && state.task === 0 ? [{ name: "task", cell: (r) => meta.tasks[r.task], value: (r) => meta.tasks[r.task] }] : []),
        { name: "categories", cell: (r) => stack(r.shares), value: (r) => r.shares[3] },
        ...(state.category !== null ? [state.category] : shownCategories().filter((c) => c)).map((c) => ({ name: categoryName(c), numeric: true, cell: (r) => percent(r.shares[c]), value: (r) => r.shares[c] })),
        ...(state.language !== null ? [{ name: `activated in ${languageName(language)}`, numeric: true, cell: (r) => percent(r.activated[language]), value: (r) => r.activated[language] }] : []),
      ];
      const by = columns.findIndex((c) => c.name === categoryName(state.category ?? 3));
      const kept = table?.filter.value ?? "";
      table = new SortedTable({
        file: () => `examples${state.layer === null ? "" : `-layer-${meta.layers[state.layer]}`}.csv`, label: "Examples", columns,
        placeholder: meta.examples.prompts ? "id or words of the prompt" : "id", sort: { by, down: true },
        find: (r, words) => r.id.toLowerCase().includes(words) || (prompts.get(r.place) ?? "").toLowerCase().includes(words),
        open: (r) => ({ address: `#example=${r.index}`, go: () => openExample(r) }),
      });
      table.filter.value = kept;
      if (meta.examples.prompts) {
        const save = table.save.bind(table);
        const all = () => Promise.all(rows.map(load));
        table.save = async () => { await all(); save(); };
        table.filter.addEventListener("focus", async () => { await all(); table.show(); }, { once: true });
        table.shown = async (shown) => {
          const missing = shown.filter((each) => !prompts.has(each.place));
          if (!missing.length) return;
          await Promise.all(missing.map(load));
          table.show();
        };
      }
      table.set(rows);
      body.append(table.element);
    },
  });
}

// The head of an example's page: steps to its neighbours, and its id. Returns its row; nothing if the page has no such one.
function exampleHead(body, rows) {
  const found = rows.find((each) => each.index === state.example);
  const go = (place) => openExample(rows[place]);
  body.append(h("div", { class: "steps" },
    h("button", { class: "plain", type: "button", onclick: () => select({ example: null }, { page: true }) }, "← All views"),
    h("button", { class: "plain", type: "button", disabled: !found || found.place === 0, onclick: () => go(found.place - 1) }, "Previous example"),
    h("button", { class: "plain", type: "button", disabled: !found || found.place === rows.length - 1, onclick: () => go(found.place + 1) }, "Next example")));
  body.append(h("h1", { tabindex: -1, id: "single-title", dir: "auto" }, found ? found.id : `Example ${state.example}`));
  if (!found) body.append(h("p", {}, "It was skipped, or this file does not hold it; a report written with --folder has all examples."));
  return found;
}

async function examplePage(body, width) {
  const { meta, arrays: means } = run();
  const rows = await exampleTable();
  const found = exampleHead(body, rows);
  if (!found) return;
  const part = await examplePart(found.place), { arrays: table } = await block(`${run().name}/examples`);
  const { arrays, e } = part;
  const N = meta.layers.length, I = meta.neurons, L = meta.languages.length;
  const share = (c) => sum(range(N).map((n) => at(table.category, found.place, n, c))) / (N * I);
  body.append(
    h("p", { class: "muted" }, `Example ${found.index} of ${meta.tasks[found.task]}. `, shownCategories().map((c) => `${categoryName(c)} ${percent(share(c))}`).join(", "), " of all neurons."),
    stack(range(4).map(share)));
  const order = range(L).filter((k) => at(arrays.present, e, k));
  body.append(h("h2", {}, part.prompts ? "Prompts" : "Languages (this store keeps no prompts)"), h("dl", { class: "prompts" }, order.map((k) => [
    h("dt", {}, languageName(k)),
    h("dd", { dir: meta.languages[k].dir, lang: meta.languages[k].tag || null }, part.prompts?.[k] ?? ""),
    h("dd", { class: "r number" }, `${plural(at(arrays.tokens, e, k), "token")}, ${percent(at(table.activated, found.place, k) / (N * I))} activated`)])));
  const values = (c) => Float32Array.from(range(N), (n) => at(table.category, found.place, n, c) / I);
  body.append(h("h2", {}, "Categories by layer; dotted: the mean over examples"), layerChart(width, {
    height: 300, label: "Categories by layer of this example",
    behind: shownCategories().map((c) => ({ colour: categoryColour(c), values: Float32Array.from(range(N), (n) => at(means.category, 0, 0, n, c)) })),
    series: shownCategories().flatMap((c) => [
      { name: categoryName(c), colour: categoryColour(c), text: `var(--text-${CATEGORY_KEYS[c]})`, values: values(c), label: percent(share(c)), faint: state.category !== null && state.category !== c }]),
  }));
  const saved = languageOrder().filter((k) => at(arrays.present, e, k));
  body.append(h("h2", {}, "Activated neurons by layer and language"), heatMap({
    width, rows: saved, label: "Activated neurons by layer and language of this example",
    value: (k, n) => at(arrays.activated, e, k, n) / I, total: null, what: "of neurons activated",
  }));
  body.querySelector("#single-title").focus({ preventScroll: true });
}
