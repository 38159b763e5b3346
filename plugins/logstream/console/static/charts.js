// Windows over time, drawn by uPlot: bars of events, a line of lag, bands of what is missing. The table beside it says the same.
"use strict";

const seen = matchMedia("(max-width: 600px)");

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const duration = (seconds) => {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * length) return `${Number((seconds / length).toFixed(1))} ${unit}`;
  }
  return `${Number(seconds.toFixed(1))} s`;
};

// the ends of its steps, and how a time on the axis is written: the date where a day begins
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400];
const DAY = "\n{YYYY}-{MM}-{DD}";
const TIMES = [
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [3600, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
  [60, "{HH}:{mm}", DAY, null, DAY, null, null, null, 1],
  [1, "{HH}:{mm}:{ss}", DAY, null, DAY, null, null, null, 1],
];

// what is missing stands behind the bars, as long as it is in time
const bands = (data) => (plot) => {
  const fills = { gap: "--bad-bg", lost: "--bad-bg", owed: "--warn-bg" };
  const { ctx } = plot;
  ctx.save();
  data.shade.forEach((shade, index) => {
    if (!fills[shade]) return;
    const from = plot.valToPos(data.start[index], "x", true);
    const to = plot.valToPos(data.end[index], "x", true);
    ctx.fillStyle = colour(fills[shade]);
    ctx.fillRect(from, plot.bbox.top, Math.max(to - from, 2), plot.bbox.height);
    ctx.fillStyle = colour(shade === "owed" ? "--warn-edge" : "--bad");
    ctx.fillRect(from, plot.bbox.top, Math.max(to - from, 2), 3 * devicePixelRatio);
  });
  ctx.restore();
};

// a bar is as wide as its window is long, and wide enough to be seen where nothing stands beside it: some minutes in a chart of years
const bars = (data) => (plot, series, first, last) => {
  const path = new Path2D();
  const base = plot.valToPos(0, "events", true);
  for (let index = first; index <= last; index++) {
    const events = data.events[index];
    if (!events) continue;
    const from = plot.valToPos(data.start[index], "x", true);
    const to = plot.valToPos(data.end[index], "x", true);
    const top = plot.valToPos(events, "events", true);
    const next = index + 1 < data.start.length ? plot.valToPos(data.start[index + 1], "x", true) : Infinity;
    const visible = Math.min(3 * devicePixelRatio, next - from - devicePixelRatio);
    path.rect(from, top, Math.max(to - from - devicePixelRatio, visible, devicePixelRatio), base - top);
  }
  return { stroke: null, fill: path };
};

const draw = (place) => {
  const data = JSON.parse(place.dataset.plot);
  const withLag = "lag" in place.dataset;
  const muted = colour("--muted");
  const axis = { stroke: muted, font: `11px ${getComputedStyle(document.body).fontFamily}`, ticks: { stroke: colour("--border"), size: 4 } };
  const grid = { stroke: colour("--border"), width: 1 };
  const options = {
    width: place.clientWidth,
    height: seen.matches ? 180 : 220,
    tzDate: utc,
    legend: { live: true },
    cursor: { drag: { x: false, y: false }, points: { show: false } },
    scales: {
      x: { time: true, range: () => [data.start[0], data.end.reduce((one, other) => Math.max(one, other))] },
      events: { range: (plot, low, high) => [0, Math.max(1, (high || 0) * 1.05)] },
      lag: { range: () => [0, data.top * 1.05] },
    },
    axes: [
      { ...axis, grid, space: 64, size: 40, values: TIMES },
      { ...axis, scale: "events", grid, size: 48, space: 36, values: (plot, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? compact.format(tick) : "")) },
      { ...axis, scale: "lag", side: 1, grid: { show: false }, stroke: colour("--lag"), size: 56, space: 40, incrs: SECONDS, values: (plot, ticks) => ticks.map(duration) },
    ].slice(0, withLag ? 3 : 2),
    series: [
      { label: "From (UTC)", value: (plot, at) => (at == null ? "-" : new Date(at * 1000).toISOString().slice(0, 19).replace("T", " ")) },
      { label: "Events", scale: "events", fill: colour("--bar"), stroke: colour("--bar"), width: 0, points: { show: false }, paths: bars(data), value: (plot, value) => (value == null ? "-" : value.toLocaleString("en")) },
      { label: "Lag", scale: "lag", stroke: colour("--lag"), width: 1.5, points: { show: data.start.length < 40, size: 4, fill: colour("--lag") }, value: (plot, value) => (value == null ? "-" : duration(value)) },
    ].slice(0, withLag ? 3 : 2),
    hooks: { drawClear: [bands(data)] },
  };
  place.replaceChildren();
  new uPlot(options, [data.start, data.events, data.lag].slice(0, withLag ? 3 : 2), place);
  place.dataset.drawn = "";
};

const drawAll = () => document.querySelectorAll("[data-plot]").forEach(draw);

drawAll();
// the new part is drawn before the browser shows it
document.addEventListener("htmx:afterSwap", drawAll);
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  drawAll();
});
