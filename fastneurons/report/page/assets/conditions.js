// A matrix of edits by languages: a table whose cells are coloured by their values.

const conditionName = (c) => run().meta.conditions[c];
const edits = () => range(run().meta.conditions.length).slice(1);

// rows: indices of conditions; value(k, c); format: it as text; shade(value): {css, rgb}; tip(k, c): lines of the tooltip.
function conditionMatrix({ label, rows, value, format, shade, tip }) {
  const { meta } = run();
  const languages = range(meta.languages.length);
  const cell = (k, c) => {
    const given = value(k, c), colour = Number.isNaN(given) ? null : shade(given);
    const marked = (state.condition === c && (state.language === null || state.language === k)) || (state.language === k && state.condition === null);
    return h("td", { class: marked ? "marked" : null, "data-k": k, "data-c": c, style: colour ? { background: colour.css, color: inkOn(colour.rgb) } : {} }, format(given));
  };
  const table = h("table", { class: "matrix" }, h("caption", { class: "unseen" }, label),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "edit"), languages.map((k) =>
      h("th", { scope: "col", class: state.language === k ? "chosen" : null, "data-k": k }, h("span", { class: "wide" }, languageName(k)), h("span", { class: "short" }, meta.languages[k].code))))),
    h("tbody", {}, rows.map((c) => h("tr", {}, h("th", { scope: "row", dir: "auto", class: state.condition === c ? "chosen" : null, "data-c": c }, conditionName(c)), languages.map((k) => cell(k, c))))));
  const drawing = steered(h("div", { class: "drawing" }, table), label, { x: { key: "language", order: languages }, y: { key: "condition", order: rows.filter((c) => c > 0) } });
  const find = (event) => {
    const found = event.target.closest?.("[data-k], [data-c]");
    const number = (name) => (found?.hasAttribute(name) ? Number(found.getAttribute(name)) : null);
    return found && drawing.contains(found) ? { k: number("data-k"), c: number("data-c") } : null;
  };
  tipped(drawing, (event) => {
    const found = find(event);
    if (!found) return null;
    if (found.k === null || found.c === null) return [found.k === null ? conditionName(found.c) : languageName(found.k)];
    return [`${languageName(found.k)}, ${conditionName(found.c)}`, ...tip(found.k, found.c)];
  });
  drawing.addEventListener("click", (event) => {
    const found = find(event);
    if (!found) return;
    const chosen = { language: found.k, condition: found.c || null };
    if (state.language === chosen.language && state.condition === chosen.condition) select({ language: null, condition: null });
    else if (found.k === null) toggle("condition", chosen.condition);
    else if (found.c === null) toggle("language", found.k);
    else select(chosen);
  });
  return drawing;
}

// Colours of changes around none: `most` is the largest in either direction.
function aroundNone(most) {
  const colour = ramp(["down", "even", "up"]);
  return (change) => colour(most > 0 ? 0.5 + clamp(change / most, -1, 1) / 2 : 0.5);
}

// Colours of sizes, from the least to the most.
function bySize(values) {
  const finite = values.filter(Number.isFinite), low = Math.min(...finite), high = Math.max(...finite);
  const colour = ramp();
  return (size) => colour(high > low ? (clamp(size, low, high) - low) / (high - low) : 0.5);
}
