// The one selection that all views share, kept in the address: #layer=12&language=th&neuron=345.
// Values are indices, null for "all"; the address has the names that people use.

const state = { run: 0, task: 0, layer: null, language: null, category: null, condition: null, neuron: null, example: null };
const listeners = [];
let runs = []; // {name, meta, arrays}

const run = () => runs[state.run];
const onChange = (listener) => listeners.push(listener);

function names(key) {
  const { meta } = run();
  return {
    layer: meta.layers.map(String),
    language: meta.languages.map((each) => each.code),
    task: meta.groups,
    category: meta.categories,
    condition: meta.conditions ?? [],
  }[key];
}

function toHash() {
  const found = new URLSearchParams();
  if (state.run) found.set("run", state.run + 1);
  for (const key of ["task", "layer", "language", "category", "condition"]) {
    if (state[key] !== null && !(key === "task" && state.task === 0)) found.set(key, names(key)[state[key]]);
  }
  if (state.neuron !== null) found.set("neuron", state.neuron);
  if (state.example !== null) found.set("example", state.example);
  return found.size ? `#${found}` : "";
}

// What of an address cannot be had is left out, so an old link still opens.
function fromHash(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (key) => (/^\d+$/.test(given.get(key) ?? "") ? Number(given.get(key)) : null);
  state.run = clamp((number("run") ?? 1) - 1, 0, runs.length - 1);
  for (const key of ["task", "layer", "language", "category", "condition"]) {
    const place = given.has(key) ? names(key).indexOf(given.get(key)) : -1;
    state[key] = place >= 0 ? place : key === "task" ? 0 : null;
  }
  const neuron = number("neuron");
  state.neuron = neuron !== null && neuron < run().meta.neurons && state.layer !== null ? neuron : null;
  state.example = state.neuron === null && run().meta.examples ? number("example") : null;
}

// Change the selection; `page` marks a step that the browser's Back undoes on its own.
function select(changes, { page = false } = {}) {
  const before = { ...state };
  Object.assign(state, changes);
  if (state.run !== before.run) {
    // Another run may have other layers and languages: look the names up again.
    const wanted = { ...state };
    const old = runs[before.run].meta;
    state.task = Math.max(0, run().meta.groups.indexOf(old.groups[wanted.task]));
    state.layer = known(run().meta.layers.indexOf(old.layers[wanted.layer]));
    state.language = known(run().meta.languages.map((l) => l.code).indexOf(old.languages[wanted.language]?.code));
    state.condition = known((run().meta.conditions ?? []).indexOf(old.conditions?.[wanted.condition]));
    if (state.neuron >= run().meta.neurons) state.neuron = null;
  }
  if (Object.keys(state).every((key) => state[key] === before[key])) return;
  const address = toHash() || window.location.pathname.split("/").pop() || ".";
  const opened = page || state.neuron !== before.neuron || state.example !== before.example;
  try {
    window.history[opened ? "pushState" : "replaceState"](null, "", toHash() || address);
  } catch { /* an address that cannot be changed: the page still works */ }
  notify(before);
}

const known = (place) => (place >= 0 ? place : null);

function notify(before) {
  const changed = new Set(Object.keys(state).filter((key) => !before || state[key] !== before[key]));
  for (const listener of listeners) listener(changed);
}

window.addEventListener("popstate", () => {
  const before = { ...state };
  fromHash(window.location.hash);
  notify(before);
});

// Choose a value, or "all" if it was chosen already.
const toggle = (key, value) => select({ [key]: state[key] === value ? null : value });

// -- words for the selection -------------------------------------------------------------------------------

const layerName = (l) => (l === null ? "all layers" : `layer ${run().meta.layers[l]}`);
const languageName = (k) => run().meta.languages[k].name;
const categoryName = (c) => run().meta.categories[c];
const CATEGORY_KEYS = ["none", "specific", "partial", "all"];
const categoryColour = (c) => `var(--${CATEGORY_KEYS[c]})`;
// With two languages nothing can be shared by some and not all.
const shownCategories = () => (run().meta.languages.length > 2 ? [3, 2, 1, 0] : [3, 1, 0]);
