// Data of the page: blocks of gzip as base64, in this file or, in a folder, in scripts loaded when they are needed.
// A script, not fetch: pages opened from a disk may not fetch their neighbours.

const index = JSON.parse(document.getElementById("index").textContent);
const waiting = new Map(); // block name -> function that takes its base64
const decoded = new Map(); // block name -> promise of the block

// What a data file calls.
window.fastneuronsBlock = (name, text) => waiting.get(name)?.(text);

function blockText(name) {
  const inside = document.getElementById(`block ${name}`);
  if (inside) return Promise.resolve(inside.textContent);
  const file = index.files[name];
  if (!file) return Promise.reject(new Error(`there is no data named ${name}`));
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    waiting.set(name, (text) => { script.remove(); resolve(text); });
    script.onerror = () => reject(new Error(`${file} is missing; keep the folder together`));
    script.src = file;
    document.head.append(script);
  });
}

function hasBlock(name) {
  return Boolean(index.files[name] || document.getElementById(`block ${name}`));
}

// {meta, arrays: {name: {data, shape}}}; decoded once.
function block(name) {
  if (!decoded.has(name)) decoded.set(name, blockText(name).then(decode));
  return decoded.get(name);
}

async function decode(text) {
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const { meta, arrays } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const types = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array };
  const found = {};
  for (const [name, [dtype, shape, offset]] of Object.entries(arrays)) {
    const size = shape.reduce((a, b) => a * b, 1);
    found[name] = { shape, data: new types[dtype](buffer, 4 + length + offset, size) };
  }
  return { meta, arrays: found };
}

// A value of an array by its indices.
function at(array, ...indices) {
  let place = 0;
  for (let d = 0; d < indices.length; d++) place = place * array.shape[d] + indices[d];
  for (let d = indices.length; d < array.shape.length; d++) place *= array.shape[d];
  return array.data[place];
}

// The last dimension of an array, from the indices of the others.
function row(array, ...indices) {
  const length = array.shape[array.shape.length - 1];
  let place = 0;
  for (let d = 0; d < indices.length; d++) place = place * array.shape[d] + indices[d];
  return array.data.subarray(place * length, (place + 1) * length);
}

// A layer's planes, each [I], as numbers of which `scale` stands for a share of 1: see strips.py.
const planesOf = new Map();
async function planes(run, layer) {
  const name = `${run.name}/layer/${layer}`;
  if (!planesOf.has(name)) {
    planesOf.set(name, block(name).then(({ arrays }) => {
      const { data, shape: [bytes, P, I] } = arrays.planes;
      const each = run.meta.strips.scale[0].length, first = run.meta.corpus ? 0 : 3;
      const found = [];
      for (let p = 0; p < P; p++) {
        const plane = new Int32Array(I);
        for (let i = 0; i < I; i++) {
          let value = data[p * I + i];
          for (let b = 1; b < bytes; b++) value |= data[(b * P + p) * I + i] << (8 * b);
          plane[i] = value;
        }
        if (p % each > first) { // a zigzag difference from the language before
          const before = found[p - 1];
          for (let i = 0; i < I; i++) plane[i] = before[i] + ((plane[i] >>> 1) ^ -(plane[i] & 1));
        }
        found.push(plane);
      }
      return found;
    }));
  }
  return planesOf.get(name);
}
