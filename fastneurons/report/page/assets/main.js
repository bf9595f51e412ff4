// The page as a whole: head, findings, the selection, figures or a single neuron or example, and how to reproduce.

const comparisons = new Map(); // "0-1" -> block

async function start() {
  runs = await Promise.all(index.runs.map(async (each) => {
    const { meta, arrays } = await block(`${each.name}/core`);
    return { name: each.name, title: each.title, meta, arrays };
  }));
  for (const pair of index.comparisons) comparisons.set(pair, await block(`compare/${pair}`));
  fromHash(window.location.hash);
  const page = document.getElementById("page");
  const head = h("section", { "aria-label": "Findings" }), bar = h("nav", { class: "bar", "aria-label": "Selection" }), main = h("main", { id: "main", tabindex: -1 }), foot = h("footer");
  page.replaceChildren(head, main, foot);
  page.before(head, bar);
  let shown = null; // what `main` shows: the figures of which run, or a neuron or example

  const show = async (changed) => {
    drawHead(head);
    drawBar(bar);
    head.hidden = single() !== null;
    const now = single() ?? `run ${state.run}`;
    if (now !== shown || single() !== null) {
      const first = shown === null;
      shown = now;
      await (single() === null ? drawFigures(main) : drawSingle(main));
      if (!first) window.scrollTo({ top: single() === null ? main.dataset.scroll ?? 0 : 0, behavior: "instant" });
    } else {
      await Promise.all([...figures.values()].filter(({ uses }) => [...changed].some((key) => uses.has(key))).map(({ redraw }) => redraw()));
    }
    document.documentElement.dataset.ready = toHash() || "#";
  };
  window.addEventListener("scroll", () => { if (single() === null) main.dataset.scroll = window.scrollY; }, { passive: true });
  onChange((changed) => show(changed).catch(failed));
  foot.append(h("p", {}, `Written by fastneurons ${index.version}. This file needs no network.`));
  document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  await show(new Set());
  let width = window.innerWidth;
  window.addEventListener("resize", debounced(() => { if (window.innerWidth !== width) { width = window.innerWidth; redraw(); } }));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  function redraw() { (single() === null ? redrawAll() : drawSingle(main)).catch(failed); }
}

const single = () => (state.neuron !== null ? `neuron ${state.neuron}` : state.example !== null ? `example ${state.example}` : null);

function debounced(act) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(act, 120); };
}

function failed(error) {
  document.getElementById("page").prepend(h("p", { class: "notice", role: "alert" }, `This report cannot be shown completely: ${error.message}`));
  throw error;
}

function drawHead(head) {
  const { meta, arrays } = run();
  const several = meta.languages.length;
  const under = meta.conditions?.length > 1 ? `, intact and under ${plural(meta.conditions.length - 1, "edit")}` : "";
  const what = meta.generation ? `What ${meta.model} writes in ${plural(several, "language")}${under}` : meta.perplexity ? `How well ${meta.model} predicts texts in ${plural(several, "language")}${under}` : meta.deactivation ? `How ${meta.model} answers in ${several} languages with neurons ${meta.deactivation.operation}` : meta.corpus ? `How ${several} languages use the neurons of ${meta.model}` : `How ${meta.model} shares its neurons among ${several} languages`;
  const notices = [];
  if (!meta.complete) notices.push(h("p", { class: "notice" }, h("strong", {}, "Not complete. "), `The run is still going or was interrupted; everything here covers the ${plural(meta.examples_committed, "example")} committed so far.`));
  for (const line of meta.warnings) notices.push(h("p", { class: "notice" }, line));
  head.replaceChildren(h("div", { class: "bar-inner", style: { display: "block" } },
    h("header", { class: "masthead" }, h("h1", {}, what),
      h("p", { class: "measured" }, `${plural(meta.layers.length, "layer")} of ${plural(meta.neurons, "neuron")}; ${plural(meta.examples_measured, meta.corpus ? "text" : "example")} of ${meta.tasks.join(", ")}`
        + `${meta.skipped.count ? ` (${count(meta.skipped.count)} skipped)` : ""}${meta.threshold === null ? "" : `; activated: ${meta.signal} above ${meta.threshold} ${meta.where}`}.`)),
    arrays.category_overall && overview(meta, arrays),
    notices,
    meta.sentences.length ? h("ol", { class: "findings", "aria-label": "Findings" }, meta.sentences.map(({ parts, figure: id, select: chosen }) => h("li", {}, h("span", {}, sentence(parts)),
      h("button", { type: "button", "aria-label": `Show the figure: ${parts.join("")}`, onclick: () => {
        select(chosen);
        const title = document.getElementById(`${id}-title`);
        title?.scrollIntoView();
        title?.focus({ preventScroll: true });
      } }, "Figure")))) : h("p", { class: "notice" }, "Nothing has been measured yet.")));
}

// The four categories of all neurons as one bar.
function overview(meta, arrays) {
  const order = shownCategories(), share = (c) => at(arrays.category_overall, 0, 0, c);
  return h("div", { class: "overview" },
    h("div", { class: "overview-bar", "aria-hidden": "true" }, order.map((c) => h("span", { style: { width: `${100 * share(c)}%`, background: categoryColour(c) } }))),
    h("dl", { "aria-label": "All neurons by category" }, order.map((c) => h("div", {},
      h("dt", {}, h("span", { class: "swatch", style: { "--mark": categoryColour(c) } }), categoryName(c)), h("dd", { style: { color: `var(--text-${CATEGORY_KEYS[c]})` } }, percent(share(c)))))));
}

// A finding: numbers strong, intervals in brackets quiet; a number stays with its unit.
function sentence(parts) {
  const tidy = (text) => text.replace(/(\d) %/g, `$1${NBSP}%`);
  return parts.map((part, i) => (i % 2 ? h("strong", {}, tidy(part))
    : part.split(/(\([^()]*\))/).map((piece, j) => (j % 2 ? h("span", { class: "aside" }, tidy(piece)) : tidy(piece)))));
}

function drawBar(bar) {
  const { meta } = run();
  const focused = bar.contains(document.activeElement) ? document.activeElement.getAttribute("data-key") : null;
  const menu = (key, label, options, extra = {}) => h("div", { class: "field" }, h("label", { for: `choose-${key}` }, label),
    h("select", { id: `choose-${key}`, "data-key": key, onchange: (event) => select({ [key]: event.target.value === "" ? null : Number(event.target.value), ...extra }) },
      options.map(([value, name]) => h("option", { value: value ?? "", selected: state[key] === value }, name))));
  const marks = [[null, "any"], ...shownCategories().filter((c) => meta.deactivation?.categories.includes(categoryName(c)) ?? true).map((c) => [c, categoryName(c), categoryColour(c)])];
  const category = choices("Category", marks, () => state.category, (value) => select({ category: value }));
  for (const button of category.children) button.setAttribute("data-key", `category-${button.dataset.value}`);
  const nothing = ["layer", "language", "category", "condition"].every((key) => state[key] === null) && state.task === 0;
  bar.replaceChildren(h("div", { class: "bar-inner" },
    runs.length > 1 && menu("run", "Run", runs.map((_, r) => [r, runName(r)])),
    !meta.deactivation && !meta.conditions && menu("layer", "Layer", [[null, "all layers"], ...meta.layers.map((layer, n) => [n, `layer ${layer}`])], { neuron: null, example: null }),
    menu("language", "Language", [[null, "all languages"], ...range(meta.languages.length).sort((a, b) => languageName(a).localeCompare(languageName(b), "en")).map((k) => [k, languageName(k)])]),
    meta.groups.length > 1 && menu("task", "Task", meta.groups.map((name, g) => [g, name])),
    meta.conditions?.length > 1 && menu("condition", "Edit", [[null, "all edits"], ...edits().map((c) => [c, conditionName(c)])]),
    !meta.corpus && !meta.conditions && h("div", { class: "field" }, h("span", { class: "label" }, "Category"), category),
    h("button", { class: "plain clear", type: "button", "data-key": "clear", disabled: nothing, onclick: () => select({ layer: null, language: null, category: null, condition: null, task: 0, neuron: null, example: null }) }, "Clear")));
  if (focused) bar.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

async function drawFigures(main) {
  const { meta, arrays } = run();
  figures.clear();
  const there = [];
  if (arrays.category) there.push(layersFigure());
  if (arrays.activated) there.push(languagesFigure());
  if (arrays.contribution_share) there.push(contributionFigure());
  if (meta.strips) there.push(stripFigure());
  if (arrays.jaccard) there.push(matrixFigure(), setsFigure());
  if (meta.deactivation) there.push(deactivationFigure());
  if (meta.generation?.judged) there.push(answersFigure());
  if (meta.generation && meta.examples_measured) there.push(lengthsFigure(), textsFigure());
  if (meta.perplexity && meta.examples_measured) there.push(perplexityFigure());
  if (meta.perplexity && meta.examples_measured && meta.conditions.length > 1) there.push(perplexityChangesFigure());
  if (arrays.category && comparable().length) there.push(compareFigure());
  if (hasBlock(`${run().name}/listed`) || (meta.corpus && meta.strips)) there.push(neuronsFigure());
  if (hasBlock(`${run().name}/examples`) && !meta.generation) there.push(examplesFigure());
  main.replaceChildren(h("div", { class: "figures" }, there), reproduce());
  await redrawAll();
}

async function drawSingle(main) {
  figures.clear();
  const body = h("div", { class: "single" });
  main.replaceChildren(body);
  await (state.neuron !== null ? neuronPage(body, body.clientWidth) : run().meta.generation ? textsPage(body) : examplePage(body, body.clientWidth));
}

function reproduce() {
  const { meta } = run();
  const command = h("pre", { tabindex: 0 }, meta.command);
  return h("section", { class: "figure", id: "reproduce", "aria-labelledby": "reproduce-title" },
    h("header", {}, h("h2", { id: "reproduce-title", tabindex: -1 }, "What was run, and how to reproduce it")),
    command,
    h("p", { class: "muted" }, "The command is put together from what the store records."),
    h("dl", { class: "facts" }, meta.facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      h("dt", {}, "Store"), h("dd", {}, meta.store)),
    meta.skipped.count > 0 && [h("h3", {}, `Skipped: ${plural(meta.skipped.count, "row")}`), h("ul", {}, meta.skipped.reasons.map(({ reason, count: n, first }) =>
      h("li", {}, `${count(n)}: ${reason} `, h("span", { class: "muted" }, `(${first.map(([where, id]) => (id ? `${where} ${id}` : where)).join("; ")}${n > first.length ? "; …" : ""})`))))]);
}

start().catch(failed);
