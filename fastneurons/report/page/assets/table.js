// A table that sorts, filters and turns pages, and downloads everything that the filter leaves.

const PAGE_ROWS = 15;

// Columns: {name, text(row) or share(row) or cell(row), value(row) for sorting and CSV, numeric}.
// Rows are any objects; `open(row)` is called by the button in the first column.
class SortedTable {
  pageRows = PAGE_ROWS;

  constructor({ file, label, columns, find, placeholder, open, sort }) {
    Object.assign(this, { file, label, columns, find, open, sort });
    this.page = 0;
    this.rows = [];
    this.filter = h("input", { type: "search", placeholder, "aria-label": `Filter: ${label}`, oninput: () => { this.page = 0; this.show(); } });
    this.status = h("span", { class: "muted number", role: "status" });
    this.extra = h("span", { class: "tools", style: { margin: 0 } });
    this.tools = h("div", { class: "tools" }, this.filter, this.extra, this.status,
      h("button", { class: "plain end", type: "button", onclick: () => this.save() }, "Download CSV"));
    this.pager = h("nav", { class: "pager", "aria-label": `Pages of: ${label}` });
    this.element = h("div", {}, this.tools, this.body(), this.pager);
  }

  // The element that `fill` fills with the rows of a page.
  body() {
    this.table = h("table", { "aria-label": this.label });
    return h("div", { class: "drawing", tabindex: 0, role: "region", "aria-label": `Table: ${this.label}` }, this.table);
  }

  set(rows) { this.rows = rows; this.page = 0; this.show(); }

  chosen() {
    const words = this.filter.value.trim().toLowerCase();
    const rows = words ? this.rows.filter((row) => this.find(row, words)) : this.rows.slice();
    const { by, down } = this.sort, value = this.columns[by].value, sign = down ? -1 : 1;
    const keyed = rows.map((row, i) => [value(row), i, row]);
    keyed.sort(([a, i], [b, j]) => {
      const order = typeof a === "number" ? (Number.isFinite(a) ? a : -Infinity) - (Number.isFinite(b) ? b : -Infinity) : String(a).localeCompare(String(b), "en", { numeric: true });
      return (Number.isNaN(order) ? 0 : sign * order) || i - j;
    });
    return keyed.map(([, , row]) => row);
  }

  show() {
    const rows = this.chosen(), size = this.pageRows, pages = Math.max(1, Math.ceil(rows.length / size));
    this.page = clamp(this.page, 0, pages - 1);
    const focused = this.element.contains(document.activeElement) ? document.activeElement.getAttribute("data-key") : null;
    const shown = rows.slice(this.page * size, (this.page + 1) * size);
    this.fill(shown);
    this.status.textContent = rows.length === this.rows.length ? "" : `${count(rows.length)} of ${count(this.rows.length)}`;
    const turn = (step) => { this.page += step; this.show(); };
    this.pager.replaceChildren(
      h("button", { class: "plain", type: "button", "data-key": "back", disabled: this.page === 0, onclick: () => turn(-1) }, "Back"),
      h("span", { class: "number" }, rows.length ? `${count(this.page * size + 1)} to ${count(Math.min(rows.length, (this.page + 1) * size))} of ${count(rows.length)}` : "nothing found"),
      h("button", { class: "plain", type: "button", "data-key": "next", disabled: this.page >= pages - 1, onclick: () => turn(1) }, "Next"));
    if (focused) this.element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    this.shown?.(shown);
  }

  fill(shown) {
    const heads = this.columns.map((column, i) => {
      const sorted = this.sort.by === i;
      return h("th", { scope: "col", class: column.numeric ? "r" : "", "aria-sort": sorted ? (this.sort.down ? "descending" : "ascending") : null },
        h("button", { type: "button", "data-key": `sort-${i}`, onclick: () => {
          this.sort = { by: i, down: sorted ? !this.sort.down : Boolean(column.numeric) };
          this.page = 0;
          this.show();
        } }, column.name, sorted ? (this.sort.down ? " ↓" : " ↑") : ""));
    });
    this.table.replaceChildren(h("thead", {}, h("tr", {}, heads)), h("tbody", {}, shown.map((row) => h("tr", {}, this.columns.map((column, i) =>
      h("td", { class: [column.numeric ? "r" : "", column.prose ? "text" : ""].join(" ").trim() || null, dir: column.prose ? column.dir ?? "auto" : null, lang: column.lang?.(row) || null },
        i === 0 && this.open ? h("a", { href: this.open(row).address, onclick: (event) => { event.preventDefault(); this.open(row).go(); } }, column.cell(row)) : column.cell(row)))))));
  }

  save() {
    const columns = this.columns.filter((column) => column.value);
    download(this.file(), csv(columns.map((c) => c.file ?? c.name), this.chosen().map((row) => columns.map((c) => c.value(row)))));
  }
}

// A bar of four shares, in the categories' colours.
function stack(shares) {
  const order = [3, 2, 1, 0];
  return h("span", { class: "stack", role: "img", "aria-label": order.map((c) => `${categoryName(c)} ${percent(shares[c])}`).join(", ") },
    order.map((c) => shares[c] > 0 && h("span", { style: { width: `${100 * shares[c]}%`, background: categoryColour(c) } })));
}

// A row of buttons of which one is pressed.
function choices(label, options, current, choose) {
  const group = h("div", { class: "choices", role: "group", "aria-label": label });
  const show = () => group.replaceChildren(...options.map(([value, name, mark]) => h("button", {
    type: "button", "aria-pressed": String(current() === value), "data-value": String(value), style: mark ? { "--mark": mark } : {},
    onclick: () => { choose(value); show(); group.querySelector(`[data-value="${CSS.escape(String(value))}"]`).focus(); },
  }, mark && h("span", { class: "swatch", "aria-hidden": "true" }), name)));
  show();
  group.refresh = show;
  return group;
}
