"use strict";
// The page of an anatomy. Steps t and k are counted from 1 where they are shown, from 0 in arrays.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const T = data.T;
const state = { t: data.chosen, parameter: "W", what: "norm", scale: "log", view: { x: 0, y: 0, span: T } };
const arrays = {}; // delta, jacobian, share_… and norm_… of each parameter: Float32Array [T · T]

// --- numbers -------------------------------------------------------------------------------------------------------

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const n = planes.length / 4, words = new Uint32Array(n);
  for (let i = 0; i < n; i++) words[i] = planes[i] | (planes[n + i] << 8) | (planes[2 * n + i] << 16) | (planes[3 * n + i] << 24);
  return new Float32Array(words.buffer);
}

const norm = (t, k) => {
  const sizes = data.sizes[state.parameter]; // of each step's input, where it is that alone
  return sizes ? arrays.delta[t * T + k] * sizes[k] : arrays[`norm_${state.parameter}`][t * T + k];
};
const share = (t, k) => arrays[`share_${state.parameter}`][t * T + k];
const jacobian = (t, k) => arrays.jacobian[t * T + k];
const value = (t, k) => ({ norm, share, jacobian })[state.what](t, k);
const isPath = (t, k) => !Number.isNaN(arrays.delta[t * T + k]);

const SUPER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
function show(v, digits = 3) {
  if (!Number.isFinite(v)) return v > 0 ? "∞" : v < 0 ? "−∞" : "–";
  if (v === 0) return "0";
  const size = Math.abs(v);
  if (size >= 1e-3 && size < 1e5) return String(Number(v.toPrecision(digits))).replace("-", "−");
  const [mantissa, power] = v.toExponential(digits - 1).split("e");
  const factor = String(Number(mantissa)).replace("-", "−");
  return `${factor === "1" ? "" : `${factor}·`}10${[...String(Number(power))].map((c) => SUPER[c]).join("")}`;
}
const percent = (v) => `${v > 0 ? "+" : ""}${show(100 * v)} %`;
const escape = (s) => s.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
const SIGNS = new Map([["\n", "⏎"], [" ", "␣"], ["\t", "⇥"]]); // an object would have a "constructor", too
const cut = (s, length) => {
  const characters = [...s.slice(0, 2 * length + 2)]; // a character may be two units
  return characters.length > length ? `${characters.slice(0, length - 1).join("")}…` : s;
};
const visible = (s, length = 40) => SIGNS.get(s) ?? cut(s, length);
const named = (k) => (data.symbols ? `<b>${escape(visible(data.symbols[k]))}</b>` : "");

// --- colours -------------------------------------------------------------------------------------------------------

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
function table(stops) {
  const from = stops.map(rgb), out = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const x = (i / 255) * (stops.length - 1), j = Math.min(Math.floor(x), stops.length - 2);
    for (let c = 0; c < 3; c++) out[3 * i + c] = from[j][c] + (x - j) * (from[j + 1][c] - from[j][c]);
  }
  return out;
}
const TABLES = { sizes: table(data.colours.sizes), signed: table(data.colours.signed) };
const colour = (lut, x) => `rgb(${[...lut.slice(3 * Math.round(255 * x), 3 * Math.round(255 * x) + 3)]})`;

let range = { low: 0, high: 1 };
function findRange() {
  const found = [];
  let high = 0;
  const stride = Math.max(1, Math.floor((T * T) / 50000));
  for (let t = 0; t < T; t++)
    for (let k = 0; k < T; k++) {
      const v = Math.abs(value(t, k));
      if (!(v > 0)) continue;
      if (v > high) high = v;
      if ((t * T + k) % stride === 0) found.push(v);
    }
  found.sort((a, b) => a - b);
  high = high || 1;
  const low = Math.min(Math.max(found[Math.floor(found.length / 100)] ?? 0, high * 1e-6), high / 10);
  range = { low: state.what === "share" ? high * 1e-3 : low, high };
}
// Where a value lies on the colour scale, 0 to 1.
function place(v) {
  const { low, high } = range;
  if (state.what === "share") {
    const size = state.scale === "linear" ? Math.abs(v) / high : Math.log1p(Math.abs(v) / low) / Math.log1p(high / low);
    return 0.5 + 0.5 * Math.sign(v) * Math.min(size, 1);
  }
  if (state.scale === "linear") return Math.min(v / high, 1);
  return v <= low ? 0 : Math.log(v / low) / Math.log(high / low);
}
const lut = () => (state.what === "share" ? TABLES.signed : TABLES.sizes);

// --- the heat map --------------------------------------------------------------------------------------------------

const image = document.createElement("canvas");
image.width = image.height = T;
function paint() {
  findRange();
  const context = image.getContext("2d"), pixels = context.createImageData(T, T), colours = lut();
  for (let t = 0; t < T; t++)
    for (let k = 0; k < T; k++) {
      const v = value(t, k), at = 4 * (t * T + k);
      if (Number.isNaN(v)) continue; // no path: the paper's white
      const i = 3 * Math.round(255 * place(v));
      pixels.data[at] = colours[i];
      pixels.data[at + 1] = colours[i + 1];
      pixels.data[at + 2] = colours[i + 2];
      pixels.data[at + 3] = 255;
    }
  context.putImageData(pixels, 0, 0);
}

const LEFT = 46, BOTTOM = 38, TOP = 4;
let side = 400; // of the square in which the map is drawn, in CSS pixels
function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}
function drawMap() {
  const canvas = $("map"), width = canvas.clientWidth;
  side = width - LEFT - 16;
  const context = fit(canvas, width, side + BOTTOM + TOP), { x, y, span } = state.view, cell = side / span;
  context.save();
  context.beginPath();
  context.rect(LEFT, TOP, side, side);
  context.clip();
  context.imageSmoothingEnabled = cell < 1;
  context.imageSmoothingQuality = "high";
  context.drawImage(image, x, y, span, span, LEFT, TOP, side, side);
  context.strokeStyle = "#d1495b";
  context.lineWidth = 1.5;
  context.strokeRect(LEFT - 2, TOP + (state.t - y) * cell - 0.5, side + 4, Math.max(cell, 2) + 1);
  context.restore();
  context.strokeStyle = "#333";
  context.lineWidth = 1;
  context.strokeRect(LEFT + 0.5, TOP + 0.5, side, side);
  ticks(context, cell);
}
function ticks(context, cell) {
  const { x, y, span } = state.view, symbols = data.symbols && cell >= 9;
  context.fillStyle = "#1b1b1b";
  context.font = `${symbols ? Math.min(13, Math.floor(cell)) : 11}px ${symbols ? "ui-monospace, DejaVu Sans Mono, monospace" : "system-ui, sans-serif"}`;
  const wanted = span / Math.max(2, Math.floor(side / 70)), power = 10 ** Math.floor(Math.log10(wanted));
  const every = symbols ? 1 : Math.max(1, [1, 2, 5, 10].find((m) => m * power >= wanted) * power);
  for (let i = 0; i < T; i++) {
    if (!symbols && (i + 1) % every !== 0) continue;
    const label = symbols ? visible(data.symbols[i], 4) : String(i + 1);
    const across = (i + 0.5 - x) * cell, down = (i + 0.5 - y) * cell;
    context.textAlign = "center";
    context.textBaseline = "top";
    if (across >= 0 && across <= side) context.fillText(label, LEFT + across, TOP + side + 5);
    context.textAlign = "right";
    context.textBaseline = "middle";
    if (down >= 0 && down <= side) context.fillText(label, LEFT - 5, TOP + down);
  }
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  context.fillText(state.what === "jacobian" ? "state k" : "path ends at step k", LEFT + side / 2, TOP + side + BOTTOM - 5);
  context.translate(11, TOP + side / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(state.what === "jacobian" ? "state t" : "loss of step t", 0, 0);
}
function drawBar() {
  const canvas = $("bar"), width = canvas.clientWidth, context = fit(canvas, width, 40);
  const left = LEFT, length = width - LEFT - 16, colours = lut();
  for (let i = 0; i < length; i++) {
    context.fillStyle = colour(colours, i / length);
    context.fillRect(left + i, 4, 1.5, 12);
  }
  context.fillStyle = "#1b1b1b";
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  const { low, high } = range;
  let marks = [];
  if (state.what === "share") marks = [-high, -high / 30, 0, high / 30, high];
  else if (state.scale === "linear") marks = [0, high / 4, high / 2, (3 * high) / 4, high];
  else for (let i = 0; i <= 4; i++) marks.push(low * (high / low) ** (i / 4));
  if (state.what === "share" && state.scale === "linear") marks = [-high, -high / 2, 0, high / 2, high];
  for (const v of marks) {
    const at = left + place(v) * length;
    context.fillRect(at, 16, 1, 4);
    const less = state.what !== "share" && state.scale === "log" && v === low ? "≤ " : "";
    context.fillText(less + (state.what === "share" ? `${show(100 * v, 2)} %` : show(v, 2)), at, 32);
  }
}

const cellAt = (event) => {
  const box = $("map").getBoundingClientRect(), cell = side / state.view.span;
  const k = Math.floor(state.view.x + (event.clientX - box.left - LEFT) / cell);
  const t = Math.floor(state.view.y + (event.clientY - box.top - TOP) / cell);
  return t >= 0 && t < T && k < T ? { t, k } : null;
};
function zoom(factor, fx = 0.5, fy = 0.5) {
  const view = state.view, span = Math.min(T, Math.max(Math.min(8, T), view.span * factor));
  const keep = (v, f) => Math.min(Math.max(v + (view.span - span) * f, 0), T - span);
  state.view = { x: keep(view.x, fx), y: keep(view.y, fy), span };
  drawMap();
}
function pan(dx, dy) {
  const { view } = state, cell = side / view.span, keep = (v) => Math.min(Math.max(v, 0), T - view.span);
  state.view = { ...view, x: keep(view.x - dx / cell), y: keep(view.y - dy / cell) };
  drawMap();
}

// --- hover, clicks, keys -------------------------------------------------------------------------------------------

function tipOf(t, k) {
  if (!isPath(t, k)) return `L<sub>${t + 1}</sub> ${named(t)} has no path to step ${k + 1} ${named(k)}`;
  return `loss t = ${t + 1} ${named(t)} → step k = ${k + 1} ${named(k)}<br>size: <span class="norm">${show(norm(t, k), 4)}</span><br>` +
    `share: <span class="share">${show(100 * share(t, k), 4)} %</span>` +
    (Number.isNaN(jacobian(t, k)) ? "" : `<br>‖∂s<sub>${t + 1}</sub>/∂s<sub>${k + 1}</sub>‖: <span class="jacobian">${show(jacobian(t, k))}</span>`);
}
function tip(event, html) {
  const box = $("tip");
  box.innerHTML = html;
  box.hidden = false;
  const right = event.clientX + 16 + box.offsetWidth > window.innerWidth;
  box.style.left = `${Math.max(4, right ? event.clientX - box.offsetWidth - 12 : event.clientX + 16)}px`;
  box.style.top = `${Math.max(4, Math.min(event.clientY + 14, window.innerHeight - box.offsetHeight - 6))}px`;
}
function hideTip() {
  $("tip").hidden = true;
}
function listen() {
  const map = $("map"), pointers = new Map();
  let moved = 0;
  map.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, event);
    map.setPointerCapture(event.pointerId);
    moved = 0;
  });
  map.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) {
      const at = cellAt(event);
      return at && at.k >= 0 ? tip(event, tipOf(at.t, at.k)) : hideTip();
    }
    const others = [...pointers.values()].filter((p) => p.pointerId !== event.pointerId);
    moved += Math.abs(event.clientX - last.clientX) + Math.abs(event.clientY - last.clientY);
    if (others.length) {
      const gap = (p) => Math.hypot(p.clientX - others[0].clientX, p.clientY - others[0].clientY) || 1;
      zoom(gap(last) / gap(event));
    } else if (moved > 4) {
      hideTip();
      pan(event.clientX - last.clientX, event.clientY - last.clientY);
    }
    pointers.set(event.pointerId, event);
  });
  map.addEventListener("pointerup", (event) => {
    pointers.delete(event.pointerId);
    const at = cellAt(event);
    if (moved <= 4 && at) {
      choose(at.t);
      if (at.k >= 0 && event.pointerType === "touch") tip(event, tipOf(at.t, at.k));
    }
  });
  map.addEventListener("pointercancel", (event) => pointers.delete(event.pointerId));
  map.addEventListener("pointerleave", hideTip);
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = map.getBoundingClientRect();
    zoom(1.2 ** Math.sign(event.deltaY), Math.min(1, Math.max(0, (event.clientX - box.left - LEFT) / side)), Math.min(1, Math.max(0, (event.clientY - box.top - TOP) / side)));
  }, { passive: false });
  map.addEventListener("dblclick", () => zoom(T));
  map.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(state.t + step);
  });
  $("zoom").addEventListener("click", (event) => {
    const factor = { in: 0.5, out: 2, all: T }[event.target.dataset.zoom];
    if (factor === 0.5) zoom(factor, state.t / T, state.t / T);
    else if (factor) zoom(factor);
  });
  $("controls").addEventListener("change", (event) => {
    state[event.target.name] = event.target.value;
    paint();
    drawAll();
  });
  $("text").addEventListener("click", (event) => {
    const i = [...$("text").children].indexOf(event.target);
    if (i >= 0) choose(i);
  });
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) drawAll();
    width = window.innerWidth;
  });
}

function drawAll() {
  drawMap();
  drawBar();
  drawChosen();
  drawCurves();
}
async function start() {
  for (const name of data.parameters) {
    const label = document.createElement("label"), choice = document.createElement("input");
    Object.assign(choice, { type: "radio", name: "parameter", value: name, checked: name === state.parameter });
    label.append(choice, name);
    $("parameter").append(label);
  }
  for (const [name, v] of data.facts) {
    const row = document.createElement("div");
    row.innerHTML = `<dt>${escape(name)}</dt><dd>${escape(v)}</dd>`;
    $("facts").append(row);
  }
  $("text").classList.toggle("numbers", !data.symbols);
  for (let k = 0; k < data.length; k++) {
    const span = document.createElement("span"), symbol = data.symbols ? data.symbols[k] : String(k + 1);
    span.textContent = symbol === "\n" ? "⏎\n" : symbol === "\t" ? "⇥" : symbol === " " ? "\u00a0" : data.spaced ? `${cut(symbol, 40)} ` : symbol;
    if (symbol === "\n") {
      span.classList.add("white");
      span.style.whiteSpace = "pre-wrap";
    }
    span.title = `step ${k + 1}`;
    $("text").append(span);
  }
  for (const [name, packed] of Object.entries(data.arrays)) arrays[name] = await unpack(packed);
  paint();
  listen();
  drawAll();
  document.body.dataset.ready = "yes";
}
