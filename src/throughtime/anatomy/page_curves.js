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
