"use strict";
// The page of an anatomy. Steps t and k are counted from 1 where they are shown, from 0 in arrays.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const T = data.T;
const state = { t: data.chosen, parameter: "W", what: "norm", scale: "log", view: { x: 0, y: 0, span: T } };
const arrays = {}; // delta, share_W, share_U, share_b, jacobian: Float32Array [T · T]

// --- numbers -------------------------------------------------------------------------------------------------------

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const n = planes.length / 4, words = new Uint32Array(n);
  for (let i = 0; i < n; i++) words[i] = planes[i] | (planes[n + i] << 8) | (planes[2 * n + i] << 16) | (planes[3 * n + i] << 24);
  return new Float32Array(words.buffer);
}

const inputSize = (k) => (state.parameter === "b" ? 1 : data.sizes[state.parameter][k]);
const norm = (t, k) => arrays.delta[t * T + k] * inputSize(k);
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
const visible = (s) => ({ "\n": "⏎", " ": "␣", "\t": "⇥" })[s] ?? s;
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
    const label = symbols ? visible(data.symbols[i]).slice(0, 4) : String(i + 1);
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

// --- the chosen loss -----------------------------------------------------------------------------------------------

function pathsOf(t) {
  const found = [];
  for (let k = 0; k < T; k++) if (isPath(t, k)) found.push({ k, delta: arrays.delta[t * T + k], norm: norm(t, k), share: share(t, k) });
  return found.sort((a, b) => Math.abs(t - a.k) - Math.abs(t - b.k) || a.k - b.k);
}
function drawText(paths) {
  const high = Math.max(...paths.map((p) => p.norm)) || 1, box = $("text");
  for (const span of box.children) {
    span.style.background = "";
    span.classList.remove("chosen", "dark");
  }
  for (const p of paths) {
    const x = state.scale === "linear" ? p.norm / high : p.norm > 0 ? Math.max(0, 1 + Math.log10(p.norm / high) / 2) : 0;
    const span = box.children[p.k];
    span.style.background = x > 0.02 ? colour(TABLES.sizes, x) : "";
    span.classList.toggle("dark", x > 0.45);
  }
  const chosen = box.children[state.t];
  chosen.classList.add("chosen");
  const above = chosen.offsetTop - box.clientHeight / 2;
  if (chosen.offsetTop < box.scrollTop || chosen.offsetTop > box.scrollTop + box.clientHeight - 24) box.scrollTop = above;
}

const NS = "http://www.w3.org/2000/svg";
function svg(parent, tag, attributes, text) {
  const node = document.createElementNS(NS, tag);
  for (const [name, v] of Object.entries(attributes)) node.setAttribute(name, v);
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}
function drawNetwork(paths) {
  const holder = $("network"), width = holder.clientWidth || 400, count = Math.max(3, Math.min(14, Math.floor((width - 40) / 58)));
  const drawn = paths.slice(0, count), steps = drawn.map((p) => p.k), first = Math.min(...steps), last = Math.max(...steps);
  const back = data.reverse ? 1 : -1, from = first + Math.min(back, 0), to = last + Math.max(back, 0);
  const gap = Math.min(74, (width - 30) / (to - from + 0.6)), lanes = Math.max(...steps.map((k) => Math.abs(state.t - k)));
  const lane = 9, top = 26, middle = top + 34 + lane * (lanes + 1) + 16, height = middle + 84;
  const at = (k) => 20 + (k - from) * gap;
  holder.textContent = "";
  const root = svg(holder, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": `paths from loss ${state.t + 1} to ${state.parameter}` });
  const high = Math.max(...drawn.map((p) => p.norm)) || 1;
  for (const p of [...drawn].reverse()) {
    const size = p.norm > 0 ? Math.max(0, 1 + Math.log10(p.norm / high) / 3) : 0;
    const way = p.k === state.t ? back : p.k < state.t ? -1 : 1, end = tap(p.k), start = at(state.t) + way * 0.9 * Math.abs(state.t - p.k);
    const y = middle - 24 - lane * Math.abs(state.t - p.k), r = Math.min(10, Math.abs(start - end) / 2);
    const d = start === end ? `M${start} ${top}V${middle - 11}`
      : `M${start} ${top}V${y - r}Q${start} ${y} ${start + Math.sign(end - start) * r} ${y}H${end - Math.sign(end - start) * r}Q${end} ${y} ${end} ${y + r}V${middle - 11}`;
    const path = svg(root, "path", { d, fill: "none", stroke: colour(TABLES.sizes, 0.15 + 0.85 * size), "stroke-width": (0.6 + 6 * size).toFixed(2), class: "path", "data-k": p.k + 1 });
    path.addEventListener("pointermove", (event) => tip(event, tipOf(state.t, p.k)));
    path.addEventListener("pointerleave", hideTip);
    svg(root, "text", { x: end, y: middle + (state.parameter === "U" ? 4 : 26), "text-anchor": "middle", "font-size": 10.5, dx: state.parameter === "U" ? 20 : 0 }, state.parameter === "U" ? "" : show(p.norm, 2));
  }
  for (let k = from; k <= to; k++) {
    const outside = k < first || k > last;
    svg(root, "circle", { cx: at(k), cy: middle, r: 13, fill: "#fff", stroke: outside ? "#bbb" : "#333" });
    const name = svg(root, "text", { x: at(k), y: middle + 4, "text-anchor": "middle", "font-size": 10.5 });
    name.innerHTML = `s<tspan font-size="7.5" dy="2.5">${k + 1}</tspan>`;
    if (outside) continue;
    const start = at(k + back);
    svg(root, "line", { x1: start - back * 14, x2: at(k) + back * 14, y1: middle, y2: middle, stroke: "#999" });
    svg(root, "path", { d: `M${at(k) + back * 14} ${middle}l${back * 5} -3v6z`, fill: "#777" });
    svg(root, "line", { x1: at(k), x2: at(k), y1: middle + 52, y2: middle + 15, stroke: "#999" });
    box(start + (at(k) - start) / 2, middle, "W", state.parameter === "W");
    box(at(k), middle + 36, "U", state.parameter === "U");
    svg(root, "text", { x: at(k), y: middle + 68, "text-anchor": "middle", "font-size": 12, "font-family": "ui-monospace, DejaVu Sans Mono, monospace" }, data.symbols ? visible(data.symbols[k]).slice(0, 7) : `x${k + 1}`);
  }
  svg(root, "rect", { x: at(state.t) - 19, y: 3, width: 38, height: 22, rx: 5, fill: "#fff3d6", stroke: "#333" });
  const loss = svg(root, "text", { x: at(state.t), y: 18, "text-anchor": "middle", "font-size": 12 });
  loss.innerHTML = `L<tspan font-size="8.5" dy="3">${state.t + 1}</tspan>`;
  const beyond = paths.slice(count), sum = (list) => list.reduce((s, p) => s + p.norm, 0);
  if (beyond.length) svg(root, "text", { x: 4, y: 16, "font-size": 11 }, `${beyond.length} paths end beyond: ${Math.round((100 * sum(beyond)) / (sum(paths) || 1))} % of all sizes`);

  function tap(k) {
    return state.parameter === "W" ? at(k) + (back * gap) / 2 : at(k) + back * 9;
  }
  function box(x, y, label, bold) {
    svg(root, "rect", { x: x - 8, y: y - 8, width: 16, height: 16, fill: bold ? "#e4ecf7" : "#f4f4f4", stroke: bold ? "#1f4e8c" : "#aaa" });
    svg(root, "text", { x, y: y + 4, "text-anchor": "middle", "font-size": 10.5, "font-weight": bold ? 700 : 400 }, label);
  }
}

function drawDerivation(paths) {
  const t = state.t + 1, p = state.parameter, before = data.reverse ? "k+1" : "k−1", after = data.reverse ? "k−1" : "k+1";
  const input = { W: `s<sub>${before}</sub><sup>⊤</sup>`, U: "x<sub>k</sub><sup>⊤</sup>", b: "" }[p];
  const name = { W: `‖s<sub>${before}</sub>‖`, U: "‖x<sub>k</sub>‖", b: "" }[p];
  const source = data.direct ? `V<sup>⊤</sup>e<sub>${t}</sub>` : `∂L<sub>${t}</sub>/∂s<sub>${t}</sub>`;
  const more = data.direct ? "" : ` + (through the layers above)`;
  const steps = paths.map((q) => q.k + 1), total = paths.reduce((s, q) => s + q.norm, 0), shares = paths.reduce((s, q) => s + q.share, 0);
  $("chosen").innerHTML = `Loss L<sub>${t}</sub> = ${show(data.losses[state.t])} at step ${t} ${named(state.t)}` +
    ` <small>${data.targets ? `target ${escape(data.targets[state.t])}; ` : ""}its paths to ${p}</small>`;
  const nearest = paths.slice(0, 6), largest = paths.slice(6).sort((a, b) => b.norm - a.norm).slice(0, 6).sort((a, b) => Math.abs(t - 1 - a.k) - Math.abs(t - 1 - b.k));
  const written = [...nearest, ...largest], rest = paths.filter((q) => !written.includes(q));
  const rows = written.map((q) => `<tr data-k="${q.k + 1}"><td>${q.k + 1}</td><td class="symbol">${named(q.k)}</td><td>${show(q.delta)}</td>` +
    (p === "b" ? "" : `<td>${show(inputSize(q.k))}</td>`) + `<td>${show(q.norm)}</td><td>${percent(q.share)}</td><td class="product">${product(q.k)}</td></tr>`);
  if (rest.length) rows.push(`<tr><td>${rest.length}</td><td>more</td><td></td>${p === "b" ? "" : "<td></td>"}<td>${show(rest.reduce((s, q) => s + q.norm, 0))}</td><td>${percent(rest.reduce((s, q) => s + q.share, 0))}</td><td></td></tr>`);
  $("derivation").innerHTML =
    `<p class="formula">∂L<sub>${t}</sub>/∂${p} = Σ<sub>k</sub> (∂L<sub>${t}</sub>/∂s<sub>${t}</sub>) (∂s<sub>${t}</sub>/∂s<sub>k</sub>) (∂⁺s<sub>k</sub>/∂${p}) = Σ<sub>k=${Math.min(...steps)}…${Math.max(...steps)}</sub> δ<sub>${t},k</sub> ${input}</p>` +
    `<p class="formula">δ<sub>${t},${t}</sub> = σ′(a<sub>${t}</sub>) ⊙ ${source}, &nbsp; δ<sub>${t},k</sub> = σ′(a<sub>k</sub>) ⊙ (W<sup>⊤</sup>δ<sub>${t},${after}</sub>${more})</p>` +
    `<p>${paths.length} paths, sizes in all ${show(total)}; together ${percent(shares)} of ∂L/∂${p}.</p>` +
    `<div class="scroll"><table><thead><tr><th>k</th><th></th><th>‖δ‖</th>${p === "b" ? "" : `<th>${name}</th>`}<th>‖G[${t},k]‖</th><th>share</th><th>path</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>`;

  function product(k) {
    const j = k + 1, last = { W: ` s<sub>${data.reverse ? j + 1 : j - 1}</sub><sup>⊤</sup>`, U: ` x<sub>${j}</sub><sup>⊤</sup>`, b: "" }[p];
    if (!data.direct) return `δ<sub>${t},${j}</sub>${last}`;
    const walk = [], way = Math.sign(t - j);
    for (let i = j; i !== t; i += way) walk.push(`σ′<sub>${i}</sub>`);
    walk.push(`σ′<sub>${t}</sub>`);
    const shown = walk.length > 3 ? [walk[0], "⋯", walk[walk.length - 1]] : walk;
    return `${shown.join(" W<sup>⊤</sup> ")} V<sup>⊤</sup>e<sub>${t}</sub>${last}`;
  }
}
function choose(t) {
  state.t = Math.min(Math.max(t, 0), data.length - 1);
  drawChosen();
  drawMap();
}
function drawChosen() {
  const paths = pathsOf(state.t);
  drawText(paths);
  drawNetwork(paths);
  drawDerivation(paths);
}

// --- curves --------------------------------------------------------------------------------------------------------

function chart(id, { series, log = [false, false], domain, marks = [], label, names }) {
  const holder = $(id), width = holder.clientWidth || 380, height = 230, left = 52, right = 16, top = 8, bottom = 54;
  holder.textContent = "";
  const root = svg(holder, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  const scale = (i, v) => {
    const [low, high] = domain[i], f = log[i] ? Math.log : (q) => q;
    return (f(log[i] ? Math.max(v, low) : v) - f(low)) / (f(high) - f(low) || 1);
  };
  const X = (v) => left + scale(0, v) * (width - left - right), Y = (v) => height - bottom - scale(1, v) * (height - top - bottom);
  for (const v of marksOf(domain[1], log[1], 5)) {
    svg(root, "line", { x1: left, x2: width - right, y1: Y(v), y2: Y(v), stroke: "#e6e6e6" });
    svg(root, "text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end", "font-size": 11 }, label[2] ? `${show(v, 2)} %` : show(v, 2));
  }
  for (const v of marksOf(domain[0], log[0], 6)) svg(root, "text", { x: X(v), y: height - bottom + 15, "text-anchor": "middle", "font-size": 11 }, show(v, 3));
  svg(root, "text", { x: (left + width - right) / 2, y: height - bottom + 31, "text-anchor": "middle", "font-size": 11.5 }, label[0]);
  for (const s of series) {
    if (s.bars) for (const [x, y] of s.points) svg(root, "rect", { x: X(x - 0.45), width: Math.max(X(x + 0.45) - X(x - 0.45), 0.6), y: Math.min(Y(y), Y(0)), height: Math.abs(Y(y) - Y(0)), fill: s.colour });
    else svg(root, "path", { d: "M" + s.points.filter((q) => Number.isFinite(q[1])).map(([x, y]) => `${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join("L"), fill: "none", stroke: s.colour, "stroke-width": 1.8, "stroke-dasharray": s.dash ?? "none" });
  }
  for (const m of marks) {
    svg(root, "line", { x1: X(m.x), x2: X(m.x), y1: top, y2: height - bottom, stroke: "#666", "stroke-dasharray": "4 3" });
    const end = X(m.x) > width * 0.6;
    svg(root, "text", { x: X(m.x) + (end ? -5 : 5), y: m.low ? height - bottom - 8 : (height - bottom) / 2, "font-size": 11, "text-anchor": end ? "end" : "start" }, m.label);
  }
  svg(root, "line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, stroke: "#333" });
  let at = left;
  for (const s of series) {
    svg(root, "rect", { x: at, y: height - 9, width: 14, height: 4, fill: s.colour });
    const text = svg(root, "text", { x: at + 18, y: height - 3, "font-size": 11 }, s.name);
    at += 34 + (text.getComputedTextLength() || 60);
  }
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * width;
    const points = series[0].points, i = points.reduce((best, q, j) => (Math.abs(X(q[0]) - x) < Math.abs(X(points[best][0]) - x) ? j : best), 0);
    tip(event, [`${names} ${points[i][0]}`, ...series.map((s) => `${s.name}: ${label[2] ? show(s.points[i][1], 4) + " %" : show(s.points[i][1], 4)}`)].join("<br>"));
  });
  root.addEventListener("pointerleave", hideTip);
}
function marksOf([low, high], logarithmic, count) {
  const found = [];
  if (logarithmic) {
    const decades = Math.log10(high / low), every = Math.max(1, Math.ceil(decades / count));
    for (let p = Math.ceil(Math.log10(low) - 1e-9); p <= Math.log10(high) + 1e-9; p += every) found.push(10 ** p);
    return found;
  }
  const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].find((m) => m * power >= raw) * power;
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * step; v += step) found.push(Math.abs(v) < 1e-9 * step ? 0 : Number(v.toPrecision(12)));
  return found;
}
function drawCurves() {
  const lags = data.by_lag[state.parameter].map((v, i) => [i, 100 * v]);
  let sum = 0;
  const summed = lags.map(([i, v]) => [i, (sum += v)]);
  const shown = Math.min(T, Math.max(4 * data.horizon, 20)), ys = [...lags, ...summed].map((q) => q[1]);
  chart("by-lag", {
    series: [
      { name: "this lag", points: lags.slice(0, shown), bars: true, colour: "#1f4e8c" },
      { name: "all lags up to it", points: summed.slice(0, shown), colour: "#b45000" },
    ],
    domain: [[-0.6, shown - 0.4], [Math.min(0, ...ys), Math.max(100, ...ys) * 1.04]],
    marks: [{ x: data.horizon - 0.5, label: `horizon ${data.horizon}` }],
    label: ["lag in steps", "share", true], names: "lag",
  });
  const windows = (list, f) => list.map((v, i) => [i + 1, Math.max(f(v), 1e-8)]);
  chart("truncation", {
    series: [
      { name: "relative error", points: windows(data.truncation.error, (v) => v), colour: "#1f4e8c" },
      { name: "1 − cosine", points: windows(data.truncation.cosine, (v) => 1 - v), colour: "#b45000", dash: "6 3" },
    ],
    log: [true, true], domain: [[1, Math.max(T, 2)], [1e-8, Math.max(2, ...data.truncation.error)]],
    marks: [{ x: data.horizon, label: `cosine 0.99 at ${data.horizon}`, low: true }],
    label: ["window τ in steps", "", false], names: "window",
  });
  const losses = data.losses.slice(0, data.length).map((v, i) => [i + 1, v]), V = data.V.slice(0, data.length).map((v, i) => [i + 1, v]);
  chart("losses", {
    series: [{ name: "loss", points: losses, colour: "#1f4e8c" }, { name: "size of its path to V", points: V, colour: "#b45000" }],
    domain: [[1, Math.max(data.length, 2)], [0, Math.max(...losses.map((q) => q[1]), ...V.map((q) => q[1])) * 1.05 || 1]],
    label: ["step t", "", false], names: "step",
  });
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
  for (const [name, v] of data.facts) {
    const row = document.createElement("div");
    row.innerHTML = `<dt>${escape(name)}</dt><dd>${escape(v)}</dd>`;
    $("facts").append(row);
  }
  $("text").classList.toggle("numbers", !data.symbols);
  for (let k = 0; k < data.length; k++) {
    const span = document.createElement("span"), symbol = data.symbols ? data.symbols[k] : String(k + 1);
    span.textContent = symbol === "\n" ? "⏎\n" : symbol === "\t" ? "⇥" : symbol === " " ? "\u00a0" : data.spaced ? `${symbol} ` : symbol;
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
start();
