// Perplexity of each language under each edit, and its change from the intact model.

let perplexityShows = "change";

const perplexityText = (v) => (v === Infinity ? "∞" : !Number.isFinite(v) ? "–" : v < 1000 ? v.toFixed(2) : v >= 1e6 ? v.toExponential(1).replace("e+", "e") : count(Math.round(v)));
const perplexityOf = (name, k, c) => range(3).map((i) => at(run().arrays[name], state.task, i, k, c));
const WAYS = {
  change: { name: "change", of: (k, c) => perplexityOf("change", k, c), format: (v) => signed(v, Math.abs(v) < 0.1 ? 3 : 2),
    says: "Change of a token's mean negative log-probability, in nats: the logarithm of the ratio of perplexities. Orange: the edit makes the language's texts less likely; blue: more likely." },
  ratio: { name: "ratio to intact", of: (k, c) => perplexityOf("change", k, c).map(Math.exp), format: (v) => (Number.isFinite(v) ? `× ${v < 1000 ? v.toFixed(2) : perplexityText(v)}` : perplexityText(v)),
    says: "Perplexity under an edit divided by the intact model's. Orange: the edit makes the language's texts less likely; blue: more likely." },
  perplexity: { name: "perplexity", of: (k, c) => perplexityOf("perplexity", k, c), format: perplexityText,
    says: "Perplexity: exp of a token's mean negative log-probability, each token counting the same. Colours are of its logarithm." },
};

function perplexityFigure() {
  const several = edits().length > 0;
  if (!several) perplexityShows = "perplexity";
  const tools = several && choices("Show", Object.entries(WAYS).map(([key, { name }]) => [key, name]), () => perplexityShows, (value) => {
    perplexityShows = value;
    figures.get("perplexity").redraw();
  });
  return figure({
    id: "perplexity", title: several ? "Perplexity by edit and language" : "Perplexity by language", uses: ["task", "language", "condition"], tools,
    text: () => `${WAYS[perplexityShows].says}${run().meta.perplexity.windows ? ` Texts were read in ${run().meta.perplexity.windows}.` : ""}`,
    draw: (body, width) => body.append(several ? perplexityMatrix() : perplexityDots(width, [0], WAYS.perplexity)),
    numbers: () => {
      const { meta } = run();
      const ends = ["", ", 95 % interval, low", ", 95 % interval, high"];
      return {
        columns: ["language", "edit", "tokens", ...Object.values(WAYS).flatMap(({ name }) => ends.map((end) => `${name}${end}`))],
        rows: range(meta.languages.length).flatMap((k) => range(meta.conditions.length).map((c) => [languageName(k), conditionName(c), meta.perplexity.tokens[state.task][k], ...Object.values(WAYS).flatMap(({ of }) => of(k, c))])),
      };
    },
  });
}

function perplexityMatrix() {
  const { meta } = run();
  const way = WAYS[perplexityShows], rows = perplexityShows === "perplexity" ? [0, ...edits()] : edits();
  const logarithm = perplexityShows === "change" ? (v) => v : Math.log;
  const all = range(meta.languages.length).flatMap((k) => rows.map((c) => logarithm(way.of(k, c)[0]))).filter(Number.isFinite);
  const colour = perplexityShows === "perplexity" ? bySize(all) : aroundNone(Math.max(0, ...all.map(Math.abs)));
  return conditionMatrix({
    label: "Perplexity by edit and language", rows, value: (k, c) => way.of(k, c)[0], format: way.format, shade: (v) => colour(logarithm(v)),
    tip: (k, c) => [`perplexity ${withInterval(WAYS.perplexity.of(k, c), perplexityText)}`,
      ...(c ? [`change ${withInterval(WAYS.change.of(k, c), WAYS.change.format)} nats`, `ratio ${withInterval(WAYS.ratio.of(k, c), WAYS.ratio.format)}`] : []),
      `${count(meta.perplexity.tokens[state.task][k])} tokens`],
  });
}

// The same with intervals, a panel for each edit.
function perplexityChangesFigure() {
  return figure({
    id: "changes", title: "Changes with their intervals", uses: ["task", "language", "condition"],
    text: () => "Change of a token's mean negative log-probability under each edit, in nats. Bars are 95 % bootstrap intervals over examples; right of the line, the texts become less likely.",
    draw: (body, width) => body.append(perplexityDots(width, edits(), WAYS.change)),
    numbers: null,
  });
}

function perplexityDots(width, rows, way) {
  const { meta } = run();
  const largest = (k) => Math.max(...rows.map((c) => way.of(k, c)[0]).filter(Number.isFinite), -Infinity);
  return dotPanels({
    width, format: way.format, label: "Changes by edit and language",
    rows: range(meta.languages.length).sort((a, b) => largest(b) - largest(a) || a - b),
    titles: rows.map((c) => ({ name: conditionName(c), faint: c > 0 && state.condition !== null && state.condition !== c })),
    series: [{ value: (k, place) => way.of(k, rows[place]), colour: () => "var(--accent)", shift: 0 }],
    tip: (k, place) => [`${way.name} ${withInterval(way.of(k, rows[place]), way.format)}`],
  });
}
