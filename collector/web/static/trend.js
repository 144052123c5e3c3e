// The trend of one point: asks the API, draws with uPlot.  A gap is drawn as a gap, shaded; limits
// are lines.  Between two questions new samples come from the rows that the live stream brings.

import { language, now, timeWords, words, zoned } from "./clock.js";

const box = document.getElementById("chart");
const REFRESH_S = { 900: 30, 7200: 30 };
const BACKLOG_REFRESH_S = 5;

let chart = null;
let columns = null; // {times, values, low, high, codes, source}
let askedAt = 0;
let serial = 0;

const panel = () => document.getElementById("trend-panel");
const chosen = () => ({ ...panel().dataset, spanS: Number(panel().dataset.spanS) });
const rowOf = ({ gateway, key }) => document.getElementById(`p:${gateway}/${key}`);
const seconds = (us) => us / 1e6;

function limits() {
  return [...panel().querySelectorAll(".limit-fact")].map(({ dataset }) => ({
    value: Number(dataset.limit),
    severity: dataset.severity,
    name: dataset.name,
  }));
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Runs of time without a number, as [from, to] in seconds, the open end included. */
function gaps(u) {
  const { times, values } = columns;
  const found = [];
  const [from, to] = [u.scales.x.min, u.scales.x.max];
  const silence = Number(rowOf(chosen())?.dataset.silenceS || 0);
  if (silence && times.length && values[0] !== null && times[0] - from > silence) found.push([from, times[0]]);
  let since = times.length && values[0] !== null ? null : from;
  for (let i = 0; i < times.length; i += 1) {
    if (values[i] === null && since === null) since = i > 0 ? times[i - 1] : times[i];
    if (values[i] !== null && since !== null) {
      if (i > 0) found.push([since, times[i]]);
      since = null;
    }
  }
  if (since !== null) found.push([since, to]);
  else if (times.length) {
    const last = times[times.length - 1];
    if (silence && columns.source === "raw" && to - last > silence) found.push([last, to]);
  }
  return found;
}

function shadeGaps(u) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = colour("--gap");
  for (const [from, to] of gaps(u)) {
    const left = Math.max(bbox.left, u.valToPos(from, "x", true));
    const right = Math.min(bbox.left + bbox.width, u.valToPos(to, "x", true));
    if (right > left) ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height);
  }
  ctx.restore();
}

function drawLimits(u) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "bottom";
  for (const { value, severity, name } of limits()) {
    const y = u.valToPos(value, "y", true);
    if (y < bbox.top || y > bbox.top + bbox.height) continue;
    ctx.strokeStyle = ctx.fillStyle = colour(`--sev-${severity}`);
    ctx.lineWidth = devicePixelRatio * 1.5;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.fillText(`${name} ${value}`, bbox.left + 6 * devicePixelRatio, y - 2 * devicePixelRatio);
  }
  ctx.restore();
}

/** The y axis reaches from the lowest to the highest of samples and limits, with a margin. */
function yRange(u, low, high) {
  const all = [low, high, ...limits().map((limit) => limit.value)].filter((v) => v !== null && Number.isFinite(v));
  if (!all.length) return [0, 1];
  const [min, max] = [Math.min(...all), Math.max(...all)];
  const margin = (max - min) * 0.08 || Math.abs(max) * 0.1 || 1;
  return [min - margin, max + margin];
}

function shown(u, value, _series, index) {
  if (index === null || index === undefined || !columns.times.length) return "–";
  if (value !== null && value !== undefined) return String(Number(value.toPrecision(6)));
  return words.codes[columns.codes[index]] || "–";
}

function data() {
  const { times, values, low, high, source } = columns;
  return source === "minute" ? [times, values, low, high] : [times, values];
}

function build() {
  if (chart) chart.destroy();
  const line = colour("--line");
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid") } };
  const isMinute = columns.source === "minute";
  const series = [
    { value: (_u, at) => (at === null ? "–" : timeWords(at)), label: words.time },
    { label: isMinute ? words.mean : words.value, stroke: line, width: 1.5, spanGaps: false, value: shown, points: { size: 4 } },
  ];
  if (isMinute) {
    const edge = { stroke: "transparent", points: { show: false }, spanGaps: false, value: shown };
    series.push({ ...edge, label: words.lowest }, { ...edge, label: words.highest });
  }
  chart = new uPlot(
    {
      width: box.clientWidth,
      height: box.clientHeight,
      tzDate: zoned,
      series,
      bands: isMinute ? [{ series: [3, 2], fill: colour("--band") }] : [],
      axes: [{ ...axis, values: axisTimes }, { ...axis, size: 56 }],
      scales: { x: { time: true, range: (_u, from, to) => window_() || [from, to] }, y: { range: yRange } },
      cursor: { drag: { x: false, y: false } },
      hooks: { drawClear: [shadeGaps], draw: [drawLimits] },
    },
    data(),
    box,
  );
  box.uplot = chart;
}

function axisTimes(_u, splits) {
  const isLong = chosen().spanS > 86400;
  return splits.map((at) => (isLong ? timeWords(at).slice(0, 11) : timeWords(at).slice(6, chosen().spanS > 900 ? 11 : 14)));
}

/** The span that was asked for, up to now: silence at its end stays visible. */
function window_() {
  const end = now();
  return [end - chosen().spanS, end];
}

async function load() {
  const { gateway, key, spanS } = chosen();
  if (!key || !box || typeof uPlot === "undefined") return;
  serial += 1;
  const mine = serial;
  askedAt = now();
  const end = Math.round(now() * 1e6);
  const query = new URLSearchParams({ gateway, key, start_us: end - spanS * 1e6, end_us: end });
  try {
    const answer = await fetch(`/api/v1/trend?${query}`);
    if (!answer.ok) throw new Error(String(answer.status));
    const found = await answer.json();
    if (mine !== serial) return;
    const { values, low, high, codes, source } = found;
    const isSame = chart && columns && columns.source === source;
    columns = { times: found.times_us.map(seconds), values, low, high, codes, source };
    if (isSame) chart.setData(data());
    else build();
    box.removeAttribute("data-failed");
  } catch {
    if (mine === serial) box.dataset.failed = words.no_trend;
  }
}

async function loadPanel(point, spanS) {
  const query = new URLSearchParams({ point, span: spanS, lang: language });
  const answer = await fetch(`/trend-panel?${query}`);
  if (!answer.ok) return;
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  panel().replaceWith(template.content.firstElementChild);
  markChosen();
}

function markChosen() {
  const { gateway, key, spanS } = chosen();
  for (const row of document.querySelectorAll("tr.point.is-chosen")) row.classList.remove("is-chosen");
  rowOf({ gateway, key })?.classList.add("is-chosen");
  for (const link of document.querySelectorAll("a[data-lang]")) {
    const query = new URLSearchParams({ lang: link.dataset.lang });
    if (key) {
      query.set("point", `${gateway}/${key}`);
      query.set("span", spanS);
    }
    link.href = `?${query}`;
  }
}

async function show(point, spanS, { isNew }) {
  await loadPanel(point, spanS);
  if (isNew) history.pushState(null, "", `?${new URLSearchParams({ point, span: spanS })}`);
  columns = null;
  await load();
}

/** Adds the newest sample of the chosen point from its row. */
function append() {
  const row = rowOf(chosen());
  if (!row || !chart || !columns || columns.source !== "raw" || !row.dataset.atUs) return;
  const at = seconds(Number(row.dataset.atUs));
  const { times, values, codes } = columns;
  const last = times.length ? times[times.length - 1] : 0;
  if (at <= last) return;
  if (last && row.dataset.silenceS && at - last > Number(row.dataset.silenceS)) {
    times.push((last + at) / 2);
    values.push(null);
    codes.push(Number(row.dataset.code));
  }
  times.push(at);
  values.push(row.dataset.value === "" ? null : Number(row.dataset.value));
  codes.push(Number(row.dataset.code));
  const start = now() - chosen().spanS;
  while (times.length && times[0] < start) [times, values, codes].forEach((column) => column.shift());
  chart.setData(data());
}

/** A page that stays open on a point goes on asking its gateway for live data; opening it asked for ten minutes. */
function goOnWatching() {
  if (document.hidden || !new URLSearchParams(location.search).has("point")) return;
  const { gateway } = chosen();
  if (gateway) fetch(`/api/v1/gateways/${gateway}/watch`, { method: "POST" }).catch(() => {});
}

function everySecond() {
  if (!panel().dataset.key || document.hidden) return;
  const { gateway, key, spanS } = chosen();
  const backlog = Number(document.getElementById(`g:${gateway}`)?.dataset.backlog || 0);
  const isCatchingUp = backlog > 0 || everySecond.wasCatchingUp;
  const due = isCatchingUp ? BACKLOG_REFRESH_S : REFRESH_S[spanS] || 120;
  if (now() - askedAt >= due) {
    everySecond.wasCatchingUp = backlog > 0;
    loadPanel(`${gateway}/${key}`, spanS).then(load);
  } else if (chart && columns) {
    chart.setData(data());
  }
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const point = event.target.closest("a[data-point]");
  const span = event.target.closest("a[data-span]");
  if (!point && !span) return;
  event.preventDefault();
  const { gateway, key, spanS } = chosen();
  if (point) {
    show(point.dataset.point, spanS, { isNew: true });
    document.getElementById("trend").scrollIntoView({ block: "nearest", behavior: "smooth" });
  } else {
    show(`${gateway}/${key}`, Number(span.dataset.span), { isNew: true });
  }
});
document.addEventListener("points", (event) => {
  const { gateway, key } = chosen();
  markChosen();
  if (key && event.detail.includes(`${gateway}/${key}`)) append();
});
document.addEventListener("reconnected", load);
addEventListener("popstate", () => {
  const query = new URLSearchParams(location.search);
  if (query.get("point")) show(query.get("point"), Number(query.get("span") || 900), { isNew: false });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => columns && build());
if (box) new ResizeObserver(() => chart && chart.setSize({ width: box.clientWidth, height: box.clientHeight })).observe(box);

markChosen();
load();
setInterval(everySecond, 1000);
setInterval(goOnWatching, 300_000);
