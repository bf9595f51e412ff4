// A figure: heading, a sentence on what is shown, the drawing, and its numbers as a table and as CSV.

const figures = new Map(); // id -> redraw

// id: of the address and the findings; uses: keys of the selection that change it; text: the sentence below the
// heading; draw(body): fill the drawing (may be async); numbers(): {columns, rows} of what is drawn.
function figure({ id, title, half = false, uses, text, draw, numbers, tools }) {
  const sentence = h("p");
  const body = h("div", { class: "figure-body" });
  const table = h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Numbers of: ${title}` });
  const details = numbers && h("details", { class: "numbers" },
    h("summary", {}, "Numbers"),
    h("div", { class: "tools" }, h("button", { class: "plain", type: "button", onclick: async () => {
      const { columns, rows } = await numbers();
      download(`${id}.csv`, csv(columns, rows));
    } }, "Download CSV")),
    table);
  const section = h("section", { class: half ? "figure half" : "figure", id, "aria-labelledby": `${id}-title` },
    h("header", {}, h("h2", { id: `${id}-title`, tabindex: -1 }, title), tools ?? null, sentence), body, details);
  const showNumbers = async () => {
    if (!details?.open) return;
    const { columns, rows } = await numbers();
    table.replaceChildren(plainTable(columns, rows, title));
  };
  details?.addEventListener("toggle", showNumbers);
  let turn = 0;
  const redraw = async () => {
    const mine = ++turn;
    const focused = section.contains(document.activeElement) ? document.activeElement.getAttribute("data-key") : null;
    const kept = body.getBoundingClientRect().height;
    const drawing = h("div");
    sentence.textContent = text();
    await draw(drawing, body.clientWidth || section.clientWidth);
    if (mine !== turn) return; // the selection has changed again
    sentence.textContent = text(); // what it says may come from data that was decoded for the drawing
    if (kept) body.style.minHeight = "";
    body.replaceChildren(...drawing.childNodes);
    if (focused) body.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    await showNumbers();
    section.dataset.drawn = String(turn);
  };
  figures.set(id, { redraw, uses: new Set(["run", ...uses]), section });
  return section;
}

function plainTable(columns, rows, title) {
  return h("table", {},
    h("caption", { class: "unseen" }, title),
    h("thead", {}, h("tr", {}, columns.map((name, i) => h("th", { scope: "col", class: i ? "r" : "" }, name)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((value, i) =>
      h("td", { class: i ? "r" : "" }, typeof value === "number" ? shortNumber(value) : value))))));
}

// Up to six digits that count.
const shortNumber = (value) =>
  Number.isFinite(value) ? (Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(6)))) : "–";

const redrawAll = () => Promise.all([...figures.values()].map((each) => each.redraw()));

// A drawing that arrow keys move the selection in. `keys` maps "x" and "y" to keys of the selection.
function steered(element, label, keys) {
  const steps = { ArrowRight: ["x", 1], ArrowLeft: ["x", -1], ArrowDown: ["y", 1], ArrowUp: ["y", -1] };
  const words = { layer: "a layer", language: "a language", condition: "an edit" };
  const hint = Object.entries({ x: "Left and right", y: "Up and down" })
    .filter(([axis]) => keys[axis]).map(([axis, way]) => `${way} arrow keys choose ${words[keys[axis].key]}.`).join(" ");
  return fill(element, {
    tabindex: 0, role: "group", "aria-label": `${label}. ${hint} Escape clears the choice.`, "data-key": "drawing",
    onkeydown: (event) => {
      const [axis, step] = steps[event.key] ?? [];
      const found = axis && keys[axis];
      if (event.key === "Escape") {
        select(Object.fromEntries(Object.values(keys).map(({ key }) => [key, null])));
      } else if (found && !event.altKey && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        const order = found.order ?? range(names(found.key).length);
        const place = state[found.key] === null ? (step > 0 ? -1 : order.length) : order.indexOf(state[found.key]);
        select({ [found.key]: order[clamp(place + step, 0, order.length - 1)] });
        say([state.layer !== null && layerName(state.layer), state.language !== null && languageName(state.language), state.condition !== null && conditionName(state.condition)]
          .filter(Boolean).join(", "));
      }
    },
  }, []);
}

// -- colour ramps ------------------------------------------------------------------------------------------

function rgb(name) {
  const hex = variable(name).replace("#", "");
  return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

// From faint through middle to strong, for a share of `top`; 64 steps are more than the eye tells apart.
function ramp(names = ["low", "mid", "high"]) {
  const stops = names.map(rgb);
  const table = range(65).map((i) => {
    const place = (i / 64) * (stops.length - 1), first = Math.min(stops.length - 2, Math.floor(place));
    const mixed = stops[first].map((from, c) => Math.round(from + (stops[first + 1][c] - from) * (place - first)));
    return { css: `rgb(${mixed.join(",")})`, rgb: mixed };
  });
  return (share) => table[Number.isFinite(share) ? Math.round(clamp(share, 0, 1) * 64) : 0];
}

// Ink that can be read on a colour: of black and white the one with more contrast, which is 4.5 at least.
const inkOn = (colour) => {
  const [r, g, b] = colour.map((each) => (each <= 10 ? each / 3294.6 : ((each / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
};

function rampLegend(low, high, names) {
  const colour = ramp(names);
  const stops = range(9).map((i) => colour(i / 8).css).join(",");
  return h("div", { class: "legend" }, low,
    h("span", { class: "ramp", style: { background: `linear-gradient(to right, ${stops})` } }), high);
}
