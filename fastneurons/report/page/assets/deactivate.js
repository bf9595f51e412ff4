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
  const of = meta.deactivation, L = meta.languages.length;
  const scale = deactivationShows === "accuracy" ? 100 : 1;
  const value = (kind) => (k, c) => range(3).map((i) => scale * at(arrays[`${deactivationShows}_${kind}`], state.task, i, k, c));
  const order = range(L).sort((a, b) => value("from_control")(a, 0)[0] - value("from_control")(b, 0)[0]);
  const colour = (c) => { const place = meta.categories.indexOf(of.categories[c]); return place < 0 ? "var(--accent)" : categoryColour(place); };
  const format = (v) => signed(v, scale === 1 ? 2 : 1);
  const drawing = dotPanels({
    width, rows: [L, ...order], format, label: "Change of answers by category and language",
    titles: of.categories.map((name) => ({ name, faint: state.category !== null && meta.categories[state.category] !== name })),
    series: [{ value: value("control_from_intact"), colour: () => "var(--muted)", shift: 5 }, { value: value("from_intact"), colour, shift: -4 }],
    tip: (k, c) => [["off − intact", "from_intact"], ["random − intact", "control_from_intact"], ["off − random", "from_control"]]
      .map(([what, kind]) => `${what} ${withInterval(value(kind)(k, c), format)}`),
  });
  return h("div", {}, drawing, h("div", { class: "legend" }, h("span", {}, h("span", { class: "swatch", style: { "--mark": "var(--muted)" } }), "random neurons of the same number")));
}
