// Elements and numbers. Text from data only ever becomes text nodes and attributes: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";
const NBSP = "\u00a0";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const sum = (values) => Array.from(values).reduce((a, b) => a + b, 0);
const range = (n) => Array.from({ length: n }, (_, i) => i);

// 0.1234 -> "12.3 %"; a non-zero share never shows as zero.
function percent(share, digits = 1) {
  if (!Number.isFinite(share)) return "–";
  const least = 10 ** -digits;
  if (share !== 0 && Math.abs(100 * share) < least / 2) return `${share < 0 ? "−" : ""}<${NBSP}${least}${NBSP}%`;
  return `${(100 * share).toFixed(digits).replace("-", "−")}${NBSP}%`;
}

const points = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(2)}`;
const count = (n) => Number(n).toLocaleString("en-US");
const plural = (n, noun) => `${count(n)}${NBSP}${noun}${n === 1 ? "" : "s"}`;
const interval = (low, high) => `95${NBSP}% interval ${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)}${NBSP}%`;

// Round steps for an axis from 0 to `top`, at most `most` of them.
function ticks(top, most = 5) {
  if (!(top > 0)) return [0];
  const raw = top / most, size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * size).find((each) => each >= raw * 0.999);
  return range(Math.floor(top / step + 1e-9) + 1).map((i) => i * step);
}

// The label of one of `steps`, with as many decimals as they need to differ.
function tickLabel(share, steps) {
  const decimals = steps.length > 1 ? (String(Number((100 * steps[1]).toPrecision(3))).split(".")[1] ?? "").length : 0;
  return share ? percent(share, decimals) : "0";
}

// Text cut to about so many pixels.
const cut = (text, width) => (text.length * 7 > width ? `${text.slice(0, Math.max(3, Math.floor(width / 7) - 1))}…` : text);

const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function say(text) {
  document.getElementById("live").textContent = text;
}

// -- tooltips: shown by pointer and by focus ---------------------------------------------------------------

const tip = document.getElementById("tip");

function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map((line, i) => h("div", { class: i ? "" : "tip-head" }, line)));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = clamp(x + 14, 8, window.innerWidth - width - 8);
  const below = y + 18 + height < window.innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = `${below ? y + 18 : Math.max(8, y - height - 14)}px`;
}

function hideTip() { tip.hidden = true; }
window.addEventListener("scroll", hideTip, { passive: true });
window.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

// Tooltips over an element: `find(event)` gives lines of text, or null.
function tipped(element, find) {
  element.addEventListener("pointermove", (event) => {
    const lines = find(event);
    if (lines) showTip(lines, event.clientX, event.clientY); else hideTip();
  });
  element.addEventListener("pointerleave", hideTip);
  return element;
}

function download(name, text) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// RFC 4180, with a mark that lets spreadsheets read it as UTF-8. Cells that a spreadsheet would take for a formula
// are quoted with an apostrophe.
function csv(columns, rows) {
  const cell = (value) => {
    let text = typeof value === "number" ? (Number.isFinite(value) ? String(value) : "") : String(value ?? "");
    if (typeof value !== "number" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return "\ufeff" + [columns, ...rows].map((each) => each.map(cell).join(",")).join("\r\n") + "\r\n";
}
