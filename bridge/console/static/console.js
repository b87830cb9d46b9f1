// What pages do by themselves: draw the curve, ask before what can't be undone, copy a secret.

"use strict";

const WINDOW = 20; // episodes of the moving average
const DEVICES_MAX = 12; // lines by device; the others are in the average only

/** Pixels that the longest label beside the axis takes, and its tick. */
function roomFor(plot, labels, axis) {
  if (!labels) return 56;
  plot.ctx.save();
  plot.ctx.font = plot.axes[axis].font[0];
  const widest = Math.max(...labels.map((label) => plot.ctx.measureText(label).width));
  plot.ctx.restore();
  return Math.max(56, Math.ceil(widest / devicePixelRatio) + 22);
}

/** A number as in the tables: beyond what anybody counts it has an exponent. */
function short(value) {
  if (value == null) return "";
  return Math.abs(value) < 1e12 ? uPlot.fmtNum(value) : Number(value.toPrecision(3)).toExponential();
}
const besideAxis = (plot, values) => values.map(short);
const inLegend = (plot, value, series, at) => (at == null ? "--" : short(value));

/** The learning curve of one agent: from the log once, then what the page's stream brings. */
class Curve {
  constructor(box) {
    this.box = box;
    this.points = new Map(); // device and number of an episode -> point
    this.versions = new Map();
    this.byDevice = false;
    this.plot = null;
    new ResizeObserver(() => this.plot?.setSize({ width: box.clientWidth, height: 320 })).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  async load() {
    const answer = await fetch(this.box.dataset.url);
    if (answer.ok) this.take(await answer.json());
    else this.box.textContent = "The log can't be asked now; reload to try again.";
  }

  take({ points, versions }) {
    for (const point of points) this.points.set(`${point[0]} ${point[1]}`, point);
    for (const [version, made] of versions) this.versions.set(version, made);
    this.draw();
  }

  /** Steps of all devices, the average over them, and one line a device where that is wanted. */
  data() {
    const points = [...this.points.values()].sort((a, b) => a[2] - b[2]);
    let steps = 0;
    const places = points.map((p) => (steps += p[4]));
    this.ended = points.map((p) => p[2]);
    let sum = 0;
    const mean = points.map((p, i) => {
      sum += p[3] - (i >= WINDOW ? points[i - WINDOW][3] : 0);
      return sum / Math.min(i + 1, WINDOW);
    });
    const devices = [...new Set(points.map((p) => p[0]))].sort().slice(0, DEVICES_MAX);
    const lines = this.byDevice
      ? devices.map((d) => points.map((p) => (p[0] === d ? p[3] : null)))
      : [points.map((p) => p[3])];
    return { data: [places, ...lines, mean], names: this.byDevice ? devices : ["episode"] };
  }

  draw() {
    if (!window.uPlot) return;
    const { data, names } = this.data();
    this.box.dataset.points = data[0].length;
    const key = `${names.join(" ")} ${matchMedia("(prefers-color-scheme: dark)").matches}`;
    if (this.plot && this.key === key) {
      this.plot.setData(data);
      return;
    }
    this.key = key;
    this.plot?.destroy();
    this.box.replaceChildren();
    if (!data[0].length) {
      this.box.innerHTML = '<p class="empty">No episode has ended yet. The curve begins with the first.</p>';
      this.plot = null;
      this.key = null;
      return;
    }
    this.plot = new uPlot(this.options(names), data, this.box);
  }

  options(names) {
    const style = getComputedStyle(document.documentElement);
    const quiet = style.getPropertyValue("--quiet");
    const line = style.getPropertyValue("--line");
    const strong = style.getPropertyValue("--good");
    const axis = { stroke: quiet, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
    const colours = ["#5b8def", "#e0803a", "#9a6bd4", "#2fa5a5", "#d4588f", "#8a9a2f",
                     "#4f6fa8", "#b06a3b", "#7a55a5", "#3d8b7a", "#a84a72", "#6f7a35"];
    const dots = (name, i) => ({
      label: name,
      value: inLegend,
      stroke: this.byDevice ? colours[i] : quiet,
      width: this.byDevice ? 1 : 0,
      paths: this.byDevice ? undefined : () => null,
      spanGaps: true,
      points: { show: true, size: 3.5, width: 0, fill: this.byDevice ? colours[i] : quiet },
    });
    return {
      width: this.box.clientWidth,
      height: 320,
      axes: [axis, { ...axis, size: roomFor, values: besideAxis }],
      scales: { x: { time: false } },
      series: [
        { label: "steps" },
        ...names.map(dots),
        { label: `mean of ${WINDOW}`, value: inLegend, stroke: strong, width: 2.5, points: { show: false } },
      ],
      cursor: { points: { size: 7 } },
      hooks: { draw: [(plot) => this.mark(plot, strong)] },
    };
  }

  /** A tick at the foot for each policy version. */
  mark(plot, colour) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.globalAlpha = 0.55;
    ctx.beginPath();
    for (const made of this.versions.values()) {
      const before = this.ended.findLastIndex((time) => time <= made);
      const x = Math.round(plot.valToPos(before < 0 ? 0 : plot.data[0][before], "x", true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x, bbox.top + bbox.height - 8 * devicePixelRatio);
    }
    ctx.stroke();
    ctx.restore();
  }
}

function startCurve() {
  const box = document.getElementById("curve");
  if (!box) return;
  const curve = new Curve(box);
  document.getElementById("per-device").addEventListener("change", (event) => {
    curve.byDevice = event.target.checked;
    curve.draw();
  });
  document.addEventListener("curve", (event) => curve.take(JSON.parse(event.detail.data)));
  curve.load();
}

/** A query's rows, as the server found them fit for a chart. */
function startChart() {
  const box = document.getElementById("chart");
  if (!box || !window.uPlot) return;
  const { names, time, data } = JSON.parse(box.dataset.chart);
  const style = getComputedStyle(document.documentElement);
  const axis = { stroke: style.getPropertyValue("--quiet"), grid: { stroke: style.getPropertyValue("--line"), width: 1 } };
  const colours = [style.getPropertyValue("--good"), "#5b8def", "#e0803a", "#9a6bd4", "#d4588f", "#8a9a2f"];
  const plot = new uPlot({
    width: box.clientWidth,
    height: 320,
    scales: { x: { time } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"), // as in the table
    axes: [time ? { ...axis, label: "UTC", labelSize: 20, labelFont: "12px system-ui" } : axis, { ...axis, size: roomFor, values: besideAxis }],
    series: [{}, ...names.map((label, i) => ({ label, value: inLegend, stroke: colours[i % colours.length], width: 2 }))],
  }, data, box);
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 320 })).observe(box);
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
document.addEventListener("focusin", (event) => {
  if (event.target.matches?.("[data-copy]")) event.target.select();
});
for (const [name, stale] of [["close", true], ["error", true], ["after:connection", false]]) {
  document.addEventListener(`htmx:sse:${name}`, (event) => event.target.classList?.toggle("stale", stale));
}
startCurve();
startChart();
