"use strict";

// What is chosen lives in the address, behind the #: a view can be linked.

window.addEventListener("error", (event) => document.documentElement.setAttribute("data-error", event.message));

const [data, pictures] = ["numbers", "pictures"].map((id) => JSON.parse(document.getElementById(id).textContent));
for (const group of data.points) complete(group);

const ALL = "all, aligned";
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7f7f7f"];
const SHORT = 3; // so many notes are not folded
const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "plus", "bar"];

const $ = (selector) => document.querySelector(selector);
const state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

/** Give a group its pictures' columns, which all models share, and the errors that follow from its predictions. */
function complete(group) {
  for (const [name, values] of Object.entries(data.shown[group.dataset])) group[name] = group.at.map((at) => values[at]);
  const [low, high] = ends(group.mos);
  const error = (value, at) => (high > low ? (value - group.mos[at]) / (high - low) : null);
  group.error = group.error || (group.prediction && group.prediction.map(error));
}

function ends(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

function choose(changes) {
  Object.assign(state, changes);
  history.replaceState(null, "", "#" + new URLSearchParams(state));
  show();
}

function element(tag, content = "", attributes = {}) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...(Array.isArray(content) ? content : [content]));
  return made;
}

function number(value, digits = 4) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function unique(values) {
  return [...new Set(values)];
}

function options(select, values, chosen) {
  select.replaceChildren(...values.map((value) => element("option", String(value), { value })));
  select.value = values.map(String).includes(chosen) ? chosen : values[0];
  return select.value;
}

// Tables

/** Fill a table whose headings sort. Cells are {text, order, small, bold, word}. */
function fillTable(table, headings, rows, key) {
  const [column, direction] = (state[key] || "").split(",");
  const place = headings.findIndex((heading) => heading.text === column);
  if (place >= 0) {
    const sign = direction === "up" ? 1 : -1;
    const order = (row) => row[place].order ?? -Infinity;
    rows = [...rows].sort((a, b) => (order(a) > order(b) ? sign : order(a) < order(b) ? -sign : 0));
  }
  const head = headings.map((heading, at) => {
    const sorted = heading.text === column;
    const button = element("button", heading.text, { type: "button" });
    button.onclick = () => choose({ [key]: `${heading.text},${sorted && direction === "down" ? "up" : "down"}` });
    const label = !sorted ? "none" : direction === "up" ? "ascending" : "descending";
    const word = rows.length > 0 && rows[0][at].word ? "word" : "";
    return element("th", button, { "aria-sort": label, scope: "col", class: `${heading.class || ""} ${word}`.trim() });
  });
  const body = rows.map((row) => element("tr", row.map((cell, at) => makeCell(cell, headings[at].class || ""))));
  table.replaceChildren(element("thead", element("tr", head)), element("tbody", body));
}

function makeCell(cell, group) {
  const text = cell.bold ? element("strong", cell.text) : cell.text;
  const content = cell.small ? [text, element("small", cell.small)] : text;
  return element("td", content, { class: `${group} ${cell.word ? "word" : ""}`.trim() });
}

function showSummary() {
  const rows = data.summary.filter((row) => row.figure === state.figure);
  const datasets = unique(rows.map((row) => row.dataset));
  const at = (model, dataset) => rows.find((row) => row.model === model && row.dataset === dataset) || {};
  const extreme = data.lower.includes(state.figure) ? Math.min : Math.max;
  const best = (dataset) => {
    const values = data.models.map((model) => at(model, dataset)[state.value]).filter(Number.isFinite);
    return data.models.length > 1 && values.length ? extreme(...values) : null;
  };
  const kept = { weighted: " kept first", mean: " kept" }; // in sight while the others scroll
  const group = (text) => (data.means.includes(text) ? `mean${kept[text] || ""}` : "");
  const headings = datasets.map((text) => ({ text, class: group(text) }));
  const body = data.models.map((model) => [
    { text: model, order: model, word: true },
    ...datasets.map((dataset) => {
      const row = at(model, dataset);
      const value = row[state.value];
      return {
        text: number(value),
        order: value,
        small: Number.isFinite(row.std) ? number(row.std, 3) : "",
        bold: value !== null && value === best(dataset),
      };
    }),
  ]);
  fillTable($("#summary table"), [{ text: "model" }, ...headings], body, "sort");
}

function showSplits() {
  const cells = data.results.map((row) => [
    { text: row.model, order: row.model, word: true },
    { text: String(row.split), order: row.split },
    { text: row.dataset, order: row.dataset, word: true },
    { text: String(row.n), order: row.n },
    ...Object.keys(data.figures).map((figure) => ({
      text: number(row[figure]),
      order: row[figure],
      small: figure === "srcc" && row.srcc_low !== null ? `${number(row.srcc_low, 3)} to ${number(row.srcc_high, 3)}` : "",
    })),
  ]);
  const headings = ["model", "split", "dataset", "images", ...Object.values(data.figures)];
  fillTable($("#splits"), headings.map((text) => ({ text })), cells, "splits");
}

function showDetails() {
  const sections = data.details.map(({ title, grid: [headings, ...rows] }, at) => {
    const table = element("table");
    const cells = rows.map((row) => row.map((text) => ({ text, ...sortable(text) })));
    fillTable(table, headings.map((text) => ({ text })), cells, `details${at}`);
    return element("section", [element("h2", title), element("div", table, { class: "scroll" })]);
  });
  $("#details").replaceChildren(...sections);
}

function sortable(text) {
  const value = Number(text.replace(/[()]/g, ""));
  return text !== "" && Number.isFinite(value) ? { order: value } : { order: text, word: true };
}

// Scatter

/** Groups of the chosen model and split: of one dataset, or of all those whose labels are aligned, the largest first. */
function chosenGroups() {
  const of = data.points.filter((group) => group.model === state.model && String(group.split) === state.split);
  if (state.dataset !== ALL) return of.filter((group) => group.dataset === state.dataset);
  return of.filter((group) => group.aligned).sort((a, b) => b.at.length - a.at.length);
}

function hidden(group) {
  return state.dataset === ALL && (state.hide || "").split(",").includes(group.dataset);
}

function toggle(group) {
  const names = new Set((state.hide || "").split(",").filter(Boolean));
  names.delete(group.dataset) || names.add(group.dataset);
  choose({ hide: [...names].join(",") });
}

function chosenPoints() {
  const label = state.dataset === ALL ? "aligned" : "mos";
  return chosenGroups().flatMap((group) =>
    group.proxy.map((x, at) => ({ x, y: group[label][at], group, at })).filter((point) => point.y !== null)
  );
}

function ticks(low, high) {
  const rough = (high - low || 1) / 8;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((times) => times * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(10)));
}

function span(values) {
  const [low, high] = ends(values);
  const margin = 0.05 * (high - low || 1);
  return [low - margin, high + margin];
}

const MARKS = {
  circle: (pen, x, y, r) => pen.arc(x, y, r, 0, 2 * Math.PI),
  square: (pen, x, y, r) => pen.rect(x - r, y - r, 2 * r, 2 * r),
  triangle: (pen, x, y, r) => polygon(pen, [[x, y - r], [x + r, y + r], [x - r, y + r]]),
  diamond: (pen, x, y, r) => polygon(pen, [[x, y - r], [x + r, y], [x, y + r], [x - r, y]]),
  cross: (pen, x, y, r) => strokes(pen, [[x - r, y - r, x + r, y + r], [x - r, y + r, x + r, y - r]]),
  plus: (pen, x, y, r) => strokes(pen, [[x - r, y, x + r, y], [x, y - r, x, y + r]]),
  bar: (pen, x, y, r) => pen.rect(x - r, y - r / 3, 2 * r, (2 * r) / 3),
};

function polygon(pen, corners) {
  corners.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
}

function strokes(pen, lines) {
  for (const [x0, y0, x1, y1] of lines) {
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
  }
}

let plotted = []; // points with their places on the canvas

function drawScatter() {
  const canvas = $("canvas");
  const { width, height } = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.font = "13px system-ui, 'DejaVu Sans', sans-serif";
  const points = chosenPoints();
  plotted = [];
  if (!points.length) return;
  const [left, top, right, bottom] = [62, 12, width - 12, height - 46];
  const [xLow, xHigh] = span(points.map((point) => point.x));
  const [yLow, yHigh] = span(points.map((point) => point.y));
  const toX = (x) => left + ((x - xLow) / (xHigh - xLow)) * (right - left);
  const toY = (y) => bottom - ((y - yLow) / (yHigh - yLow)) * (bottom - top);
  drawAxes(pen, { left, top, right, bottom, toX, toY, xs: ticks(xLow, xHigh), ys: ticks(yLow, yHigh) });
  plotted = points
    .filter((point) => !hidden(point.group))
    .map((point) => ({ ...point, px: toX(point.x), py: toY(point.y) }));
  drawPoints(pen);
}

function drawAxes(pen, { left, top, right, bottom, toX, toY, xs, ys }) {
  const style = getComputedStyle(document.documentElement);
  pen.strokeStyle = style.getPropertyValue("--line");
  pen.fillStyle = style.getPropertyValue("--soft");
  pen.beginPath();
  strokes(pen, [...xs.map((x) => [toX(x), top, toX(x), bottom]), ...ys.map((y) => [left, toY(y), right, toY(y)])]);
  pen.stroke();
  pen.textAlign = "center";
  for (const x of xs) pen.fillText(String(x), toX(x), bottom + 17);
  pen.fillText("proxy score", (left + right) / 2, bottom + 38);
  pen.textAlign = "right";
  for (const y of ys) pen.fillText(String(y), left - 8, toY(y) + 4);
  pen.save();
  pen.translate(14, (top + bottom) / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  pen.fillText(state.dataset === ALL ? "aligned label (proxy scale)" : "MOS (native scale)", 0, 0);
  pen.restore();
}

function looks(group) {
  const datasets = unique(data.points.map((other) => other.dataset));
  const at = state.dataset === ALL ? datasets.indexOf(group.dataset) : 0;
  return { colour: COLOURS[at % COLOURS.length], shape: SHAPES[at % SHAPES.length] };
}

function drawPoints(pen) {
  const radius = plotted.length > 1500 ? 2.5 : 4;
  // The largest dataset is drawn first and faintest, so that the small ones are seen.
  for (const group of chosenGroups()) {
    const { colour, shape } = looks(group);
    pen.fillStyle = pen.strokeStyle = colour;
    pen.globalAlpha = group.at.length > 1000 ? 0.4 : 0.8;
    for (const point of plotted) {
      if (point.group !== group) continue;
      pen.beginPath();
      MARKS[shape](pen, point.px, point.py, radius);
      shape === "cross" || shape === "plus" ? pen.stroke() : pen.fill();
    }
  }
  pen.globalAlpha = 1;
  const chosen = chosenPoint();
  if (!chosen) return;
  pen.lineWidth = 2.5;
  pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
  pen.beginPath();
  pen.arc(chosen.px, chosen.py, radius + 5, 0, 2 * Math.PI);
  pen.stroke();
}

function pointName(point) {
  return `${point.group.dataset}/${point.at}`;
}

function chosenPoint() {
  return plotted.find((point) => pointName(point) === state.point);
}

function nearest(event) {
  const box = $("canvas").getBoundingClientRect();
  const distance = (point) => Math.hypot(point.px - (event.clientX - box.left), point.py - (event.clientY - box.top));
  return plotted.reduce((best, point) => (!best || distance(point) < distance(best) ? point : best), null);
}

function walk(event) {
  const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
  if (!step || !plotted.length) return;
  event.preventDefault();
  const order = [...plotted].sort((a, b) => a.px - b.px);
  const at = order.findIndex((point) => pointName(point) === state.point);
  choose({ point: pointName(order[(at + step + order.length) % order.length]) });
}

function pictureOf(group, at) {
  return pictures[`${group.dataset}/${group.image[at]}`];
}

function showCard() {
  const point = chosenPoint();
  if (!point) {
    $("#card").replaceChildren(element("div", "Point at a picture", { class: "nothing" }));
    return;
  }
  const { group, at } = point;
  const url = pictureOf(group, at);
  const picture = url ? element("img", "", { src: url, alt: "" }) : element("div", "not embedded", { class: "nothing" });
  const facts = [
    ["image", `${group.dataset} ${group.image[at]}`],
    ["MOS", number(group.mos[at])],
    ["proxy score", number(group.proxy[at])],
    ["predicted MOS", group.prediction && number(group.prediction[at])],
    ["aligned label", group.aligned && number(group.aligned[at])],
    ["error", group.error && group.error[at] !== null && `${number(100 * group.error[at], 1)} % of the range`],
    ["distortion", group.distortion[at]],
    ["level", group.level && group.level[at]],
  ].filter(([, value]) => value);
  $("#card").replaceChildren(picture, element("dl", facts.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))])));
}

function showLegend() {
  const groups = chosenGroups();
  const entries = state.dataset === ALL ? groups.map(makeEntry) : groups.map((group) => `${group.model}, split ${group.split}, ${told(group)}. `);
  const help = state.dataset === ALL ? "A name shows or hides its dataset." : "Point, tap or walk with the arrow keys.";
  $("#legend").replaceChildren(...entries, help);
}

/** A dataset of the scatter, to show or hide. */
function makeEntry(group) {
  const signs = { circle: "●", square: "■", triangle: "▲", diamond: "◆", cross: "✕", plus: "+", bar: "▬" };
  const { colour, shape } = looks(group);
  const sign = element("b", signs[shape], { style: `color: ${colour}` });
  const button = element("button", [sign, ` ${told(group)}`], { type: "button", "aria-pressed": String(!hidden(group)) });
  button.onclick = () => toggle(group);
  return button;
}

function told({ model, split, dataset }) {
  const row = data.results.find((row) => row.model === model && row.split === split && row.dataset === dataset);
  return `${dataset}, SRCC ${number(row.srcc, 3)} of ${row.n.toLocaleString("en")}`;
}

// Misses

function showMisses() {
  const groups = data.points.filter((group) => group.model === state.model && String(group.split) === state.split);
  const shown = state.dataset === ALL ? groups : groups.filter((group) => group.dataset === state.dataset);
  const content = shown.filter((group) => group.worst.length).flatMap((group) => [
    element("h3", group.dataset),
    ...group.worst.slice(0, state.dataset === ALL ? 6 : undefined).map((at) => makeMiss(group, at)),
  ]);
  $("#misses .grid").replaceChildren(...content);
  $("#misses").hidden = !content.length;
}

function makeMiss(group, at) {
  const url = pictureOf(group, at);
  const predicted = group.prediction && group.prediction[at] !== null ? `, predicted ${number(group.prediction[at], 2)}` : "";
  const text = `MOS ${number(group.mos[at], 2)}${predicted}`;
  const name = `${group.dataset}/${at}`;
  const content = url ? [element("img", "", { src: url, alt: group.image[at], loading: "lazy" }), text] : [element("div", group.image[at]), text];
  const button = element("button", content, { type: "button", "aria-pressed": String(name === state.point), title: group.image[at] });
  button.onclick = () => choose({ point: name });
  return button;
}

// Where it comes from

function showRuns() {
  $("#runs").hidden = !data.runs.length;
  for (const run of data.runs) {
    const facts = Object.entries(run.facts).flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]);
    const heading = element("summary", `${run.model}, split ${run.split}`);
    $("#runs").append(element("details", [heading, element("dl", facts), element("pre", run.settings)]));
  }
}

/** Tables that do not fit say that they scroll. */
function markWide() {
  for (const box of document.querySelectorAll(".scroll")) box.toggleAttribute("data-wide", box.scrollWidth > box.clientWidth + 1);
}

function showTheme() {
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("#theme").textContent = dark ? "Light" : "Dark";
  $("#theme").onclick = () => choose({ theme: dark ? "light" : "dark" });
}

function showChoices() {
  state.model = options($("#model"), data.models, state.model);
  const groups = data.points.filter((group) => group.model === state.model);
  state.split = options($("#split"), unique(groups.map((group) => group.split)), state.split);
  const datasets = unique(groups.map((group) => group.dataset));
  const all = groups.filter((group) => group.aligned).length > 1 ? [ALL] : [];
  state.dataset = options($("#dataset"), [...all, ...datasets], state.dataset);
}

function show() {
  showTheme();
  showChoices();
  showSummary();
  showSplits();
  showDetails();
  drawScatter();
  showLegend();
  showCard();
  showMisses();
  markWide();
}

function start() {
  const models = `${data.models.length} model${data.models.length > 1 ? "s" : ""}`;
  const splits = unique(data.points.map((group) => group.split)).length;
  $("#about").textContent = `${models}, ${splits} split${splits > 1 ? "s" : ""}, ${data.images.toLocaleString("en")} test images. Proxy score against MOS.`;
  $("#notes").hidden = !data.notes.length;
  $("#notes details").open = data.notes.length <= SHORT;
  $("#notes summary span").textContent = `${data.notes.length} note${data.notes.length > 1 ? "s" : ""}`;
  $("#notes ul").append(...data.notes.map((note) => element("li", note)));
  $("#figure").replaceChildren(...Object.entries(data.figures).map(([value, name]) => element("option", name, { value })));
  state.figure = state.figure in data.figures ? state.figure : Object.keys(data.figures)[0];
  state.value = state.value === "mean" ? "mean" : "median";
  $("#figure").value = state.figure;
  $("#value").value = state.value;
  for (const key of ["figure", "value", "model", "split", "dataset"]) $(`#${key}`).onchange = (event) => choose({ [key]: event.target.value });
  $("canvas").onclick = (event) => plotted.length && choose({ point: pointName(nearest(event)) });
  $("canvas").onmousemove = (event) => {
    const point = nearest(event);
    if (point && pointName(point) !== state.point) {
      state.point = pointName(point);
      drawScatter();
      showCard();
    }
  };
  $("canvas").onkeydown = walk;
  window.addEventListener("resize", drawScatter);
  window.addEventListener("resize", markWide);
  for (const folded of document.querySelectorAll("details")) folded.ontoggle = markWide;
  showRuns();
  show();
  document.documentElement.setAttribute("data-ready", "");
}

start();
