// Dots with intervals: a panel for each of several edits or categories, in each a row for every language.

// titles: of the panels, {name, colour, faint}; rows: indices of languages, where L stands for all of them; series: drawn
// one below another in each row, {value(k, c): [mean, low, high], colour(c), shift}; format: a number as text;
// tip(k, c): lines of the tooltip.
function dotPanels({ width, label, titles, rows, series, format, tip }) {
  const { meta } = run();
  const K = titles.length, L = meta.languages.length;
  const narrow = width < 560, left = narrow ? 60 : 140, perRow = narrow ? 1 : Math.min(K, 4);
  const rowHeight = 24, gap = 22, head = 26, foot = 26, apart = rows[0] === L ? 8 : 0;
  const w = (width - left - gap * perRow) / perRow, panelHeight = head + rowHeight * rows.length + apart + foot;
  const all = series.flatMap(({ value }) => rows.flatMap((k) => range(K).flatMap((c) => value(k, c)))).filter(Number.isFinite);
  const least = Math.min(0, ...all), most = Math.max(0, ...all), span = most - least || 1;
  const rowY = (r) => head + r * rowHeight + (r ? apart : 0) + rowHeight / 2;
  const name = (k) => (k === L ? "all languages" : narrow ? meta.languages[k].code : languageName(k));
  const panels = titles.map((title, c) => {
    const x0 = left + (c % perRow) * (w + gap), y0 = Math.floor(c / perRow) * panelHeight;
    const x = (v) => x0 + ((v - least) / span) * w;
    const dots = ({ value, colour, shift }) => rows.map((k, r) => {
      const [mean, low, high] = value(k, c), y = y0 + rowY(r) + shift;
      return Number.isFinite(mean) && [Number.isFinite(low) && Number.isFinite(high) && s("line", { x1: x(low), x2: x(high), y1: y, y2: y, stroke: colour(c), "stroke-width": 4, opacity: 0.35 }),
        s("circle", { cx: x(mean), cy: y, r: 3.2, fill: colour(c) })];
    });
    return s("g", { opacity: title.faint ? 0.35 : 1 },
      s("text", { x: x0, y: y0 + 14, style: { "font-weight": 650 } }, cut(title.name, w)),
      s("line", { class: "axis", x1: x(0), x2: x(0), y1: y0 + head, y2: y0 + panelHeight - foot }),
      c % perRow === 0 && rows.map((k, r) => s("text", { x: left - 10, y: y0 + rowY(r) + 4, "text-anchor": "end", style: k === L || state.language === k ? { "font-weight": 650 } : {} }, cut(name(k), left - 12))),
      series.map(dots),
      [least, most].map((v, i) => s("text", { class: "dim number", x: x(v), y: y0 + panelHeight - 8, "text-anchor": i ? "end" : "start" }, format(v))));
  });
  const svg = s("svg", { width, height: panelHeight * Math.ceil(K / perRow), "aria-hidden": "true" }, panels);
  const drawing = steered(h("div", { class: "drawing" }, svg), label, { y: { key: "language", order: rows.filter((k) => k < L) } });
  const find = (event) => {
    const box = svg.getBoundingClientRect(), left0 = event.clientX - box.left - left, top = event.clientY - box.top;
    const c = Math.floor(top / panelHeight) * perRow + clamp(Math.floor(left0 / (w + gap)), 0, perRow - 1);
    const r = rows.findIndex((_, i) => Math.abs((top % panelHeight) - rowY(i)) <= rowHeight / 2);
    return c < K && r >= 0 ? { c, k: rows[r] } : null;
  };
  tipped(drawing, (event) => {
    const found = find(event);
    return found && [`${name(found.k)}, ${titles[found.c].name}`, ...tip(found.k, found.c)];
  });
  drawing.addEventListener("click", (event) => { const found = find(event); if (found && found.k < L) toggle("language", found.k); });
  return drawing;
}

// A difference with its sign.
const signed = (v, digits) => (Number.isFinite(v) ? `${v > 0 ? "+" : v < 0 ? "−" : ""}${Math.abs(v).toFixed(digits)}` : "–");
// A mean with its interval, if it has one.
const withInterval = ([mean, low, high], format) => `${format(mean)}${Number.isFinite(low) ? ` (${format(low)} to ${format(high)})` : ""}`;
