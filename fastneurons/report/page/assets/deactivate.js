// Deactivation: how answers change without each category's neurons, set against random neurons, by language.

let deactivationShows = "log_probability";

function deactivationFigure() {
  const { meta } = run();
  const of = meta.deactivation, K = of.categories.length, L = meta.languages.length;
  const scores = [["log_probability", "log-probability"], ["accuracy", "accuracy"]];
  if (!of.has_accuracy) deactivationShows = "log_probability";
  const tools = of.has_accuracy && choices("Score", scores, () => deactivationShows, (value) => {
    deactivationShows = value;
    figures.get("deactivation").redraw();
  });
  return figure({
    id: "deactivation", title: `Answers with neurons ${of.operation}`, uses: ["task", "language", "category"], tools,
    text: () => `Change of ${deactivationShows === "accuracy" ? "accuracy, in points" : "the reference answer's log-probability"} from the intact model. `
      + (deactivationShows === "accuracy" && of.matches_greedily ? "A written answer is right if each of its tokens is the likeliest one, so that greedy decoding would write it. " : "")
      + `Grey: as many random neurons of each layer, mean of ${plural(of.controls, "random set")}. Bars are 95 % bootstrap intervals over examples.`,
    draw: (body, width) => body.append(deactivationPanels(width)),
    numbers: () => {
      const { meta, arrays } = run();
      const ends = ["mean", "95 % interval, low", "95 % interval, high"];
      const kinds = [["from_intact", "off - intact"], ["control_from_intact", "random - intact"], ["from_control", "off - random"]];
      const shown = scores.filter(([score]) => score === "log_probability" || of.has_accuracy);
      return {
        columns: ["language", "category", "neurons", ...shown.flatMap(([, name]) => [`${name}, intact`, ...kinds.flatMap(([, kind]) => ends.map((end) => `${name}, ${kind}, ${end}`))])],
        rows: range(L + 1).flatMap((k) => range(K).map((c) => [k < L ? languageName(k) : "all languages", of.categories[c], at(arrays.neurons, state.task, c),
          ...shown.flatMap(([score]) => [at(arrays[`${score}_intact`], state.task, 0, k), ...kinds.flatMap(([kind]) => range(3).map((i) => at(arrays[`${score}_${kind}`], state.task, i, k, c)))])])),
      };
    },
  });
}

function deactivationPanels(width) {
  const { meta, arrays } = run();
  const of = meta.deactivation, K = of.categories.length, L = meta.languages.length;
  const scale = deactivationShows === "accuracy" ? 100 : 1;
  const value = (kind, i, k, c) => scale * at(arrays[`${deactivationShows}_${kind}`], state.task, i, k, c);
  const narrow = width < 560, left = narrow ? 60 : 140, perRow = narrow ? 1 : Math.min(K, 4);
  const rowHeight = 24, gap = 22, head = 26, foot = 26;
  const w = (width - left - gap * perRow) / perRow, panelHeight = head + rowHeight * (L + 1) + 8 + foot;
  const order = range(L).sort((a, b) => value("from_control", 0, a, 0) - value("from_control", 0, b, 0));
  const rows = [L, ...order];
  const all = ["from_intact", "control_from_intact"].flatMap((kind) => rows.flatMap((k) => range(K).flatMap((c) => range(3).map((i) => value(kind, i, k, c))))).filter(Number.isFinite);
  const least = Math.min(0, ...all), most = Math.max(0, ...all), span = most - least || 1;
  const colour = (c) => { const place = meta.categories.indexOf(of.categories[c]); return place < 0 ? "var(--accent)" : categoryColour(place); };
  const faint = (c) => state.category !== null && meta.categories[state.category] !== of.categories[c];
  const rowY = (r) => head + r * rowHeight + (r ? 8 : 0) + rowHeight / 2;
  const number = (v) => (Number.isFinite(v) ? `${v > 0 ? "+" : v < 0 ? "−" : ""}${Math.abs(v).toFixed(scale === 1 ? 2 : 1)}` : "–");
  const name = (k) => (k === L ? "all languages" : narrow ? meta.languages[k].code : languageName(k));
  const panels = range(K).map((c) => {
    const x0 = left + (c % perRow) * (w + gap), y0 = Math.floor(c / perRow) * panelHeight;
    const x = (v) => x0 + ((v - least) / span) * w;
    const dots = (kind, fill, shift) => rows.map((k, r) => {
      const [mean, low, high] = range(3).map((i) => value(kind, i, k, c)), y = y0 + rowY(r) + shift;
      return Number.isFinite(mean) && [Number.isFinite(low) && s("line", { x1: x(low), x2: x(high), y1: y, y2: y, stroke: fill, "stroke-width": 4, opacity: 0.35 }),
        s("circle", { cx: x(mean), cy: y, r: 3.2, fill })];
    });
    return s("g", { opacity: faint(c) ? 0.35 : 1 },
      s("text", { x: x0, y: y0 + 14, style: { "font-weight": 650 } }, of.categories[c]),
      s("line", { class: "axis", x1: x(0), x2: x(0), y1: y0 + head, y2: y0 + panelHeight - foot }),
      c % perRow === 0 && rows.map((k, r) => s("text", { x: left - 10, y: y0 + rowY(r) + 4, "text-anchor": "end", style: k === L || state.language === k ? { "font-weight": 650 } : {} }, cut(name(k), left - 12))),
      dots("control_from_intact", "var(--muted)", 5), dots("from_intact", colour(c), -4),
      [least, most].map((v, i) => s("text", { class: "dim number", x: x(v), y: y0 + panelHeight - 8, "text-anchor": i ? "end" : "start" }, number(v))));
  });
  const svg = s("svg", { width, height: panelHeight * Math.ceil(K / perRow), "aria-hidden": "true" }, panels);
  const drawing = steered(h("div", { class: "drawing" }, svg), "Change of answers by category and language", { y: { key: "language", order } });
  const find = (event) => {
    const box = svg.getBoundingClientRect(), left0 = event.clientX - box.left - left, top = event.clientY - box.top;
    const c = Math.floor(top / panelHeight) * perRow + clamp(Math.floor(left0 / (w + gap)), 0, perRow - 1);
    const r = rows.findIndex((_, i) => Math.abs((top % panelHeight) - rowY(i)) <= rowHeight / 2);
    return c < K && r >= 0 ? { c, k: rows[r] } : null;
  };
  tipped(drawing, (event) => {
    const found = find(event);
    if (!found) return null;
    const text = (kind) => `${number(value(kind, 0, found.k, found.c))} (${number(value(kind, 1, found.k, found.c))} to ${number(value(kind, 2, found.k, found.c))})`;
    return [`${name(found.k)}, ${of.categories[found.c]}`, `off − intact ${text("from_intact")}`, `random − intact ${text("control_from_intact")}`, `off − random ${text("from_control")}`];
  });
  drawing.addEventListener("click", (event) => { const found = find(event); if (found && found.k < L) toggle("language", found.k); });
  return h("div", {}, drawing, h("div", { class: "legend" }, h("span", {}, h("span", { class: "swatch", style: { "--mark": "var(--muted)" } }), "random neurons of the same number")));
}
