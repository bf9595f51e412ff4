// Generated texts side by side: a list that is searched and filtered, and the page of one example.

const FOLDED = 280; // characters of a long text that a list shows
const FOLDED_LINES = 6;
const RIGHT = 1, WRONG = 0; // codes of `correct`

let textsShow = "all";

const isRight = (row, k, c) => (row.correct ? row.correct(k, c) : null);
const CHOICES = {
  all: { name: "all texts", has: () => true },
  changed: { name: "changed by an edit", has: (row, k, c) => !row.same(k, c) },
  lost: { name: "right, then wrong", judged: true, has: (row, k, c) => isRight(row, k, 0) === RIGHT && isRight(row, k, c) === WRONG },
  gained: { name: "wrong, then right", judged: true, has: (row, k, c) => isRight(row, k, 0) === WRONG && isRight(row, k, c) === RIGHT },
};

// Rows {index, id, task, place, same(k, c), correct(k, c)}.
async function textRows() {
  const { meta: { ids }, arrays } = await block(`${run().name}/examples`);
  return ids.map((id, place) => ({
    id, place, index: at(arrays.index, place), task: at(arrays.task, place),
    same: (k, c) => at(arrays.same, place, k, c) === 1,
    correct: arrays.correct ? (k, c) => at(arrays.correct, place, k, c) : null,
  }));
}

// The edits that are shown beside the intact model: the chosen one, or all.
const shownConditions = () => [0, ...(state.condition ? [state.condition] : edits())];

// A list of cards with the tools of a table.
class TextList extends SortedTable {
  pageRows = 8;

  body() {
    this.cards = h("div", { class: "cards" });
    return this.cards;
  }

  fill(shown) { this.cards.replaceChildren(...shown.map((row) => this.card(row))); }
}

function textsFigure() {
  let list;
  const choose = h("select", { id: "choose-texts", onchange: (event) => { textsShow = event.target.value; figures.get("texts").redraw(); } });
  const tools = edits().length > 0 && h("div", { class: "field" }, h("label", { for: "choose-texts" }, "Show"), choose);
  return figure({
    id: "texts", title: edits().length ? "Texts side by side" : "Texts", uses: ["task", "language", "condition"], tools,
    text: () => {
      const { examples } = run().meta;
      const some = examples.shown < examples.measured
        ? ` This file holds the first ${count(examples.shown)} of ${plural(examples.measured, "example")}; --folder writes all.` : "";
      const grey = edits().length ? " Grey: as in the intact model's text, up to the first word that differs." : "";
      return `In ${languageName(state.language ?? 0)}${run().meta.languages.length > 1 ? "; choose another language above" : ""}.${grey}${some}`;
    },
    draw: async (body) => {
      const { meta } = run(), language = state.language ?? 0, conditions = shownConditions();
      const offered = Object.entries(CHOICES).filter(([, { judged }]) => !judged || meta.generation.judged);
      if (!offered.some(([key]) => key === textsShow)) textsShow = "all";
      choose.replaceChildren(...offered.map(([key, { name }]) => h("option", { value: key, selected: textsShow === key }, name)));
      const has = (row) => textsShow === "all" || conditions.slice(1).some((c) => CHOICES[textsShow].has(row, language, c));
      const rows = (await textRows()).filter((row) => (state.task === 0 || row.task === state.task - 1) && has(row));
      const parts = new Map(); // place -> part, of those that are decoded
      const load = async (row) => { parts.set(row.place, await examplePart(row.place)); };
      const textOf = (row, c) => parts.get(row.place)?.texts[language][c] ?? "";
      const promptOf = (row) => parts.get(row.place)?.prompts?.[language] ?? "";
      const right = (row, c) => (isRight(row, language, c) === RIGHT ? "right" : isRight(row, language, c) === WRONG ? "wrong" : "");
      const kept = list?.filter.value ?? "";
      list = new TextList({
        file: () => `texts-${meta.languages[language].code}.csv`, label: "Texts", sort: { by: 0, down: false },
        placeholder: meta.examples.prompts ? "id or words of the prompt or a text" : "id or words of a text",
        columns: [
          { name: "place", value: (r) => r.index }, { name: "example", value: (r) => r.id }, { name: "task", value: (r) => meta.tasks[r.task] },
          ...(meta.examples.prompts ? [{ name: "prompt", value: promptOf }] : []),
          ...conditions.flatMap((c) => [{ name: conditionName(c), value: (r) => textOf(r, c) },
            ...(meta.generation.judged ? [{ name: `${conditionName(c)}, judged`, value: (r) => right(r, c) }] : [])]),
        ],
        find: (r, words) => [r.id, promptOf(r), ...conditions.map((c) => textOf(r, c))].some((each) => each.toLowerCase().includes(words)),
      });
      list.card = (row) => textCard(row, parts.get(row.place), language, conditions);
      list.filter.value = kept;
      const all = () => Promise.all(rows.map(load));
      const save = list.save.bind(list);
      list.save = async () => { await all(); save(); };
      list.filter.addEventListener("focus", async () => { await all(); list.show(); }, { once: true });
      list.shown = async (shown) => {
        const missing = shown.filter((each) => !parts.has(each.place));
        if (!missing.length) return;
        await Promise.all(missing.map(load));
        list.show();
      };
      if (kept) await all();
      else await Promise.all(rows.slice(0, list.pageRows).map(load));
      list.set(rows);
      body.append(list.element);
    },
  });
}

function textCard(row, part, language, conditions) {
  const { meta } = run();
  const link = h("a", { href: `#example=${row.index}`, onclick: (event) => { event.preventDefault(); openExample(row); } }, row.id);
  return h("article", { class: "card", "aria-labelledby": `text-${row.index}` },
    h("h3", { id: `text-${row.index}`, dir: "auto" }, link, meta.tasks.length > 1 && h("span", { class: "muted" }, ` ${meta.tasks[row.task]}`)),
    part && (at(part.arrays.present, part.e, language) ? versions(row, part, language, conditions, true) : h("p", { class: "muted" }, `No prompt in ${languageName(language)}.`)));
}

// The prompt of an example in a language, and the texts that follow it, next to each other.
function versions(row, part, language, conditions, fold) {
  const { meta } = run();
  const { dir, tag } = meta.languages[language];
  const texts = part.texts[language];
  return h("div", {},
    part.prompts && h("div", { class: "muted" }, longText(part.prompts[language], { dir, lang: tag, fold })),
    h("div", { class: "versions" }, conditions.map((c) => {
      const judged = isRight(row, language, c), same = c > 0 && row.same(language, c);
      return h("div", {},
        h("p", { class: "version" }, h("strong", { dir: "auto" }, conditionName(c)),
          judged === RIGHT && h("span", { class: "right" }, "✓ right"), judged === WRONG && h("span", { class: "wrong" }, "✗ wrong"),
          same && h("span", {}, "unchanged"), h("span", { class: "number" }, plural(at(part.arrays.generated, part.e, language, c), "token"))),
        longText(texts[c], { dir: "auto", lang: tag, fold, same: c > 0 ? inCommon(texts[c], texts[0]) : 0 }));
    })));
}

// A text, the first `same` characters of it in grey; a long one is folded.
function longText(text, { dir, lang, fold, same = 0 }) {
  const element = h("p", { class: "prose", dir, lang: lang || null });
  const show = (shown) => {
    const grey = shown.slice(0, same), rest = shown.slice(same);
    element.replaceChildren(...[grey && h("span", { class: "muted" }, grey), rest, !shown && h("span", { class: "muted" }, "(nothing)")].filter(Boolean));
  };
  const short = fold ? folded(text) : text;
  show(short);
  const { limit } = run().meta.generation;
  const isCut = limit !== null && text.endsWith("…") && Array.from(text).length === limit;
  const cutNote = isCut && h("p", { class: "muted" }, `Cut after ${count(limit)} characters; --folder writes whole texts.`);
  if (short === text) return [element, cutNote];
  const more = `Show all ${count(text.length)} characters`;
  const button = h("button", { class: "link", type: "button", "aria-expanded": "false", onclick: () => {
    const open = button.getAttribute("aria-expanded") === "false";
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Show less" : more;
    show(open ? text : short);
  } }, more);
  return [element, cutNote, button];
}

// The beginning of a text that is too long for a list: whole words, of a few lines.
function folded(text) {
  const lines = text.split("\n");
  let short = lines.length > FOLDED_LINES ? lines.slice(0, FOLDED_LINES).join("\n") : text;
  if (short.length > FOLDED * 1.25) short = short.slice(0, wordStart(short, FOLDED));
  return short === text ? text : `${short.trimEnd()} …`;
}

// How much of a text is as in another, in whole words.
function inCommon(text, other) {
  if (text === other) return text.length;
  let same = 0;
  while (same < text.length && same < other.length && text[same] === other[same]) same++;
  return wordStart(text, same);
}

// Where the word that `place` lies in begins; words of scripts without spaces, too.
function wordStart(text, place) {
  if (place >= text.length) return text.length;
  return new Intl.Segmenter(undefined, { granularity: "word" }).segment(text).containing(place)?.index ?? 0;
}

async function textsPage(body) {
  const { meta } = run();
  const rows = await textRows();
  const found = exampleHead(body, rows);
  if (!found) return;
  const part = await examplePart(found.place);
  body.append(h("p", { class: "muted" }, `Example ${found.index} of ${meta.tasks[found.task]}.`));
  for (const k of range(meta.languages.length).filter((each) => at(part.arrays.present, part.e, each))) {
    body.append(h("section", { class: "card" }, h("h2", {}, languageName(k)), versions(found, part, k, range(meta.conditions.length), false)));
  }
  body.querySelector("#single-title").focus({ preventScroll: true });
}
