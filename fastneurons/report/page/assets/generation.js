// Generated texts in numbers: how many are right, how long they are, and how many are the intact model's.

let answersShow = "right";
let lengthsShow = "tokens";

const rightOf = (name) => (k, c) => range(3).map((i) => 100 * at(run().arrays[name], state.task, i, k, c));
const percentText = (v) => (Number.isFinite(v) ? percent(v / 100) : "–");
const pointsText = (v) => signed(v, 1);

function answersFigure() {
  const several = edits().length > 0;
  if (!several) answersShow = "right";
  const tools = several && choices("Show", [["right", "right texts"], ["change", "change from intact"]], () => answersShow, (value) => {
    answersShow = value;
    figures.get("answers").redraw();
  });
  return figure({
    id: "answers", title: several ? "Right answers by edit and language" : "Right answers by language", uses: ["task", "language", "condition"], tools,
    text: () => {
      const { measures } = run().meta.generation;
      const how = measures.length ? ` (judged by ${measures.join(", ")})` : "";
      return answersShow === "change" ? `Change of the share of right texts${how} from the intact model's on the same examples, in points. Bars are 95 % bootstrap intervals over examples.`
        : `Share of right texts${how}.${several ? " Grey: of the intact model." : ""} Bars are 95 % intervals over examples.`;
    },
    draw: (body, width) => body.append(answerPanels(width)),
    numbers: generationNumbers,
  });
}

function generationNumbers() {
  const { meta, arrays } = run();
  const L = meta.languages.length, ends = ["", ", 95 % interval, low", ", 95 % interval, high"];
  const judged = meta.generation.judged;
  return {
    columns: ["language", "edit", "prompts", "tokens", "unchanged", ...(judged ? ["right", "change of right"].flatMap((name) => ends.map((end) => `${name}${end}`)) : [])],
    rows: range(L + 1).flatMap((k) => range(meta.conditions.length).map((c) => [k < L ? languageName(k) : "all languages", conditionName(c), at(arrays.prompts, state.task, k),
      at(arrays.tokens, state.task, k, c), at(arrays.unchanged, state.task, k, c), ...(judged ? ["right", "change"].flatMap((name) => range(3).map((i) => at(arrays[name], state.task, i, k, c))) : [])])),
  };
}

function answerPanels(width) {
  const { meta } = run();
  const L = meta.languages.length, rows = edits().length ? edits() : [0];
  const right = rightOf("right"), change = rightOf("change");
  const order = range(L).sort((a, b) => (right(b, 0)[0] || 0) - (right(a, 0)[0] || 0));
  const series = answersShow === "change" ? [{ value: (k, place) => change(k, rows[place]), colour: () => "var(--accent)", shift: 0 }]
    : [...(rows[0] ? [{ value: (k) => right(k, 0), colour: () => "var(--muted)", shift: 5 }] : []),
      { value: (k, place) => right(k, rows[place]), colour: () => "var(--accent)", shift: rows[0] ? -4 : 0 }];
  return dotPanels({
    width, series, rows: L > 1 ? [L, ...order] : order, format: answersShow === "change" ? pointsText : percentText, label: "Right answers by edit and language",
    titles: rows.map((c) => ({ name: conditionName(c), faint: c > 0 && state.condition !== null && state.condition !== c })),
    tip: (k, place) => [`right ${withInterval(right(k, rows[place]), percentText)}`,
      ...(rows[place] ? [`intact ${withInterval(right(k, 0), percentText)}`, `change ${withInterval(change(k, rows[place]), pointsText)} points`] : [])],
  });
}

function lengthsFigure() {
  const several = edits().length > 0;
  if (!several) lengthsShow = "tokens";
  const tools = several && choices("Show", [["tokens", "tokens"], ["unchanged", "unchanged"]], () => lengthsShow, (value) => {
    lengthsShow = value;
    figures.get("lengths").redraw();
  });
  return figure({
    id: "lengths", title: several ? "Length of texts, and how many stay as they are" : "Length of texts", uses: ["task", "language", "condition"], tools,
    text: () => {
      const most = run().meta.generation.max_tokens;
      return lengthsShow === "tokens" ? `Mean number of tokens of a text${Number.isFinite(most) ? `, of at most ${count(most)}` : ""}.`
        : "Share of texts that are the intact model's, letter by letter.";
    },
    draw: (body) => {
      const { meta, arrays } = run();
      const shows = lengthsShow, rows = shows === "tokens" ? [0, ...edits()] : edits();
      const value = (k, c) => at(arrays[shows], state.task, k, c);
      const shade = bySize(shows === "tokens" ? range(meta.languages.length).flatMap((k) => rows.map((c) => value(k, c))) : [0, 1]);
      body.append(conditionMatrix({
        label: shows === "tokens" ? "Mean tokens of a text by edit and language" : "Unchanged texts by edit and language", rows, value, shade,
        format: (v) => (shows === "tokens" ? (Number.isFinite(v) ? v.toFixed(1) : "–") : percent(v, 0)),
        tip: (k, c) => [`${plural(at(arrays.prompts, state.task, k), "text")} of ${at(arrays.tokens, state.task, k, c).toFixed(1)} tokens`,
          ...(c ? [`${percent(at(arrays.unchanged, state.task, k, c))} unchanged`, `intact: ${at(arrays.tokens, state.task, k, 0).toFixed(1)} tokens`] : [])],
      }));
    },
    numbers: generationNumbers,
  });
}
