// Sets of languages that share neurons: how many neurons exactly these languages activate, the largest sets first.

function setsFigure() {
  return figure({
    id: "sets", title: "Neurons by the exact set of languages", half: true, uses: ["task", "layer", "language"],
    text: () => {
      const of = state.language === null ? "" : ` Only sets with ${languageName(state.language)}.`;
      return `${layerName(state.layer)[0].toUpperCase()}${layerName(state.layer).slice(1)}: share of neurons that exactly the marked languages activate, mean over examples.${of}`;
    },
    draw: (body, width) => body.append(setChart(width)),
    numbers: () => ({
      columns: ["languages", "number of languages", "share of neurons"],
      rows: chosenSets(Infinity).map(({ members, share }) => [members.map(languageName).join(", "), members.length, share]),
    }),
  });
}

// Sets by their share, without those that lack the chosen language.
function chosenSets(most) {
  const { meta, arrays } = run();
  const place = state.layer ?? meta.layers.length, L = meta.languages.length;
  return range(arrays.set_members.shape[0]).map((m) => ({
    members: range(L).filter((k) => at(arrays.set_members, m, k)), share: at(arrays.set_share, state.task, place, m),
  })).filter(({ members }) => state.language === null || members.includes(state.language))
    .sort((a, b) => b.share - a.share).slice(0, most);
}

function setChart(width) {
  const { meta } = run();
  const L = meta.languages.length, order = languageOrder();
  const narrow = width < 480, left = narrow ? 40 : Math.min(130, 14 + 7 * Math.max(...meta.languages.map((each) => each.name.length)));
  const step = 22, sets = chosenSets(Math.max(4, Math.floor((width - left - 8) / step)));
  const rowHeight = L > 20 ? 14 : 20, bars = 130, top = bars + 14, height = top + L * rowHeight + 6;
  const most = Math.max(1e-9, ...sets.map(({ share }) => share));
  const drawn = (share) => (share / most) * (bars - 12), steps = ticks(most, 3);
  const colourOf = ({ members }) => (members.length === L ? "var(--all)" : members.length === 1 ? "var(--specific)" : "var(--partial)");
  const x = (m) => left + m * step + step / 2;
  const svg = s("svg", { width, height, "aria-hidden": "true" },
    steps.map((share) => [s("line", { class: share ? "grid" : "axis", x1: left, x2: width - 4, y1: bars - drawn(share), y2: bars - drawn(share) }),
      s("text", { class: "dim number", x: left - 8, y: bars - drawn(share) + 4, "text-anchor": "end" }, tickLabel(share, steps))]),
    order.map((k, r) => [
      r % 2 === 0 && s("rect", { x: left, y: top + r * rowHeight, width: width - left - 4, height: rowHeight, fill: "var(--tint)" }),
      s("text", { x: left - 8, y: top + (r + 0.5) * rowHeight + 4, "text-anchor": "end", style: state.language === k ? { "font-weight": 700 } : {} }, narrow ? meta.languages[k].code.slice(0, 5) : languageName(k))]),
    sets.map((set, m) => {
      const rows = set.members.map((k) => order.indexOf(k));
      const y = (r) => top + (r + 0.5) * rowHeight;
      return [s("rect", { x: x(m) - 7, y: bars - drawn(set.share), width: 14, height: drawn(set.share), fill: colourOf(set) }),
        s("line", { x1: x(m), x2: x(m), y1: y(Math.min(...rows)), y2: y(Math.max(...rows)), stroke: "var(--muted)", "stroke-width": 1.5 }),
        order.map((_, r) => s("circle", { cx: x(m), cy: y(r), r: rows.includes(r) ? 4.5 : 1.5, fill: rows.includes(r) ? "var(--ink)" : "var(--line)" }))];
    }));
  const find = (event) => {
    const box = svg.getBoundingClientRect();
    return { m: Math.floor((event.clientX - box.left - left) / step), r: Math.floor((event.clientY - box.top - top) / rowHeight) };
  };
  const drawing = steered(h("div", { class: "drawing" }, svg), "Sets of languages", { x: { key: "layer" }, y: { key: "language", order } });
  tipped(drawing, (event) => {
    const set = sets[find(event).m];
    return set ? [set.members.length === L ? `All ${L} languages` : set.members.map(languageName).join(", "), `${percent(set.share, 2)} of neurons`] : null;
  });
  drawing.addEventListener("click", (event) => { const { r } = find(event); if (r >= 0 && r < L) toggle("language", order[r]); });
  return h("div", {}, drawing, h("div", { class: "legend" }, [3, 2, 1].filter((c) => shownCategories().includes(c)).map((c) =>
    h("span", {}, h("span", { class: "swatch", style: { "--mark": categoryColour(c) } }), categoryName(c)))));
}
