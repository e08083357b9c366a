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
    box(start + (at(k) - start) / 2, middle, "W", state.parameter[0] === "W");
    box(at(k), middle + 36, "U", state.parameter === "U");
    svg(root, "text", { x: at(k), y: middle + 68, "text-anchor": "middle", "font-size": 12, "font-family": "ui-monospace, DejaVu Sans Mono, monospace" }, data.symbols ? visible(data.symbols[k], 7) : `x${k + 1}`);
  }
  svg(root, "rect", { x: at(state.t) - 19, y: 3, width: 38, height: 22, rx: 5, fill: "#fff3d6", stroke: "#333" });
  const loss = svg(root, "text", { x: at(state.t), y: 18, "text-anchor": "middle", "font-size": 12 });
  loss.innerHTML = `L<tspan font-size="8.5" dy="3">${state.t + 1}</tspan>`;
  const beyond = paths.slice(count), sum = (list) => list.reduce((s, p) => s + p.norm, 0);
  if (beyond.length) svg(root, "text", { x: 4, y: 16, "font-size": 11 }, `${beyond.length} paths end beyond: ${Math.round((100 * sum(beyond)) / (sum(paths) || 1))} % of all sizes`);

  function tap(k) {
    return state.parameter[0] === "W" ? at(k) + (back * gap) / 2 : at(k) + back * 9;
  }
  function box(x, y, label, bold) {
    svg(root, "rect", { x: x - 8, y: y - 8, width: 16, height: 16, fill: bold ? "#e4ecf7" : "#f4f4f4", stroke: bold ? "#1f4e8c" : "#aaa" });
    svg(root, "text", { x, y: y + 4, "text-anchor": "middle", "font-size": 10.5, "font-weight": bold ? 700 : 400 }, label);
  }
}

function drawDerivation(paths) {
  const t = state.t + 1, shownAs = state.parameter, p = shownAs[0], before = data.reverse ? "k+1" : "k−1", after = data.reverse ? "k−1" : "k+1";
  const input = { W: `s<sub>${before}</sub><sup>⊤</sup>`, U: "x<sub>k</sub><sup>⊤</sup>", b: "" }[p];
  const name = { W: `‖s<sub>${before}</sub>‖`, U: "‖x<sub>k</sub>‖", b: "" }[p];
  const source = data.direct ? `V<sup>⊤</sup>e<sub>${t}</sub>` : `∂L<sub>${t}</sub>/∂s<sub>${t}</sub>`;
  const more = data.direct ? "" : ` + (through the layers above)`;
  const steps = paths.map((q) => q.k + 1), total = paths.reduce((s, q) => s + q.norm, 0), shares = paths.reduce((s, q) => s + q.share, 0);
  $("chosen").innerHTML = `Loss L<sub>${t}</sub> = ${show(data.losses[state.t])} at step ${t} ${named(state.t)}` +
    ` <small>${data.targets ? `target ${escape(visible(data.targets[state.t]))}; ` : ""}its paths to ${shownAs}</small>`;
  const nearest = paths.slice(0, 6), largest = paths.slice(6).sort((a, b) => b.norm - a.norm).slice(0, 6).sort((a, b) => Math.abs(t - 1 - a.k) - Math.abs(t - 1 - b.k));
  const written = [...nearest, ...largest], rest = paths.filter((q) => !written.includes(q));
  const rows = written.map((q) => `<tr data-k="${q.k + 1}"><td>${q.k + 1}</td><td class="symbol">${named(q.k)}</td><td>${show(q.delta)}</td>` +
    (p === "b" ? "" : `<td>${show(q.delta ? q.norm / q.delta : 0)}</td>`) + `<td>${show(q.norm)}</td><td>${percent(q.share)}</td><td class="product">${product(q.k)}</td></tr>`);
  if (rest.length) rows.push(`<tr><td>${rest.length}</td><td>more</td><td></td>${p === "b" ? "" : "<td></td>"}<td>${show(rest.reduce((s, q) => s + q.norm, 0))}</td><td>${percent(rest.reduce((s, q) => s + q.share, 0))}</td><td></td></tr>`);
  $("derivation").innerHTML =
    (data.formulas.length ? `<p class="formula">∂L<sub>${t}</sub>/∂${p} = Σ<sub>k=${Math.min(...steps)}…${Math.max(...steps)}</sub> δ<sub>${t},k</sub> ${input}</p><details><summary>the cell, both ways</summary><pre>${escape(data.formulas.join("\n"))}</pre></details>` :
    `<p class="formula">∂L<sub>${t}</sub>/∂${p} = Σ<sub>k</sub> (∂L<sub>${t}</sub>/∂s<sub>${t}</sub>) (∂s<sub>${t}</sub>/∂s<sub>k</sub>) (∂⁺s<sub>k</sub>/∂${p}) <span class="whole">= Σ<sub>k=${Math.min(...steps)}…${Math.max(...steps)}</sub> δ<sub>${t},k</sub> ${input}</span></p>` +
    `<p class="formula">δ<sub>${t},${t}</sub> = σ′(a<sub>${t}</sub>) ⊙ ${source}, &nbsp; δ<sub>${t},k</sub> = σ′(a<sub>k</sub>) ⊙ (W<sup>⊤</sup>δ<sub>${t},${after}</sub>${more})</p>`) +
    `<p>${paths.length} paths, sizes in all ${show(total)}; together ${percent(shares)} of ∂L/∂${p}${shownAs === p ? "" : `, to ${escape(shownAs)} alone`}.</p>` +
    `<div class="scroll"><table><thead><tr><th>k</th><th></th><th>‖δ‖</th>${p === "b" ? "" : `<th>${name}</th>`}<th>‖G[${t},k]‖</th><th>share</th><th>path</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>`;

  function product(k) {
    const j = k + 1, last = { W: ` s<sub>${data.reverse ? j + 1 : j - 1}</sub><sup>⊤</sup>`, U: ` x<sub>${j}</sub><sup>⊤</sup>`, b: "" }[p];
    if (!data.direct || data.formulas.length) return `δ<sub>${t},${j}</sub>${last}`;
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
