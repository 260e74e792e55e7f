"use strict";

// Runs where Gradio has put page.html: `element` is its root, `props` holds the scales of the ruler and the limits.

const $ = (selector) => element.querySelector(selector);
const { ruler, limits } = props;
const pictures = []; // {name, url, score}: what /score told, the best first
const queue = []; // files that wait for their score
let chosen = null;
let cursor = null; // a proxy score

function make(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...content);
  return made;
}

const short = (value) => String(Number(value.toPrecision(4)));

// Pictures come in

async function add(files) {
  const scoring = queue.length > 0;
  queue.push(...files);
  if (scoring || queue.length === 0) return;
  $(".refused").replaceChildren();
  for (let done = 1; queue.length > 0; done++) {
    $(".status").textContent = `Scoring picture ${done} of ${done + queue.length - 1} …`;
    await score(queue[0]);
    queue.shift();
    show();
  }
  $(".status").textContent = "";
}

async function score(file) {
  if (file.size > limits.bytes) return refuse(file.name, `The file has more than ${limits.bytes >> 20} MB.`);
  const form = new FormData();
  form.append("pictures", file, file.name);
  try {
    const answer = await (await fetch("score", { method: "POST", body: form })).json();
    const told = answer.pictures ? answer.pictures[0] : answer;
    if (told.error) refuse(file.name, told.error);
    else pictures.push({ name: file.name, url: URL.createObjectURL(file), score: told });
  } catch {
    refuse(file.name, "The server does not answer. Is it still running?");
  }
}

function refuse(name, error) {
  $(".refused").append(make("li", {}, make("b", {}, name), ": " + error));
}

function remove(picture) {
  pictures.splice(pictures.indexOf(picture), 1);
  URL.revokeObjectURL(picture.url);
  if (chosen === picture) cursor = chosen = null;
  show();
}

function choose(picture) {
  chosen = picture;
  cursor = picture.score.proxy;
  show();
}

// The ruler

function span() {
  const ends = pictures.map((picture) => picture.score.proxy);
  if (ruler.low !== null) ends.push(ruler.low, ruler.high);
  if (ends.length === 0) return [0, 1];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  return low < high ? [low, high] : [low - 1, high + 1];
}

function rounds(low, high) {
  const rough = (high - low) / 7;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => Number(((first + i) * step).toFixed(9)));
}

function line(name, ticks, at, width) {
  const drawn = make("div");
  let last = -Infinity;
  for (const tick of ticks) {
    const x = at(tick.proxy);
    const room = 5 * String(short(tick.score)).length + 12;
    if (x < 0 || x > width || x - last < room) continue;
    last = x;
    drawn.append(make("span", { style: `left:${x}px` }, short(tick.score)));
  }
  return make("div", { class: "scale " + name }, make("b", {}, name), drawn);
}

function shelve(at, side) {
  const shelf = $(".shelf");
  shelf.style.setProperty("--side", side + "px");
  const ends = []; // of each row, from the lowest
  const places = pictures.map((picture, rank) => ({ picture, rank, x: at(picture.score.proxy) }));
  for (const place of [...places].sort((a, b) => a.x - b.x)) {
    const free = ends.findIndex((end) => end + side + 8 <= place.x);
    place.row = free < 0 ? ends.length : free;
    ends[place.row] = place.x;
  }
  shelf.style.height = ends.length ? `${ends.length * (side + 10) + 10}px` : 0;
  const drawn = places.flatMap(({ picture, rank, x, row }) => {
    const bottom = row * (side + 10) + 10;
    const label = `${picture.name}, rank ${rank + 1}, proxy score ${short(picture.score.proxy)}`;
    const attributes = { class: "thumb", type: "button", title: label, "aria-label": label };
    attributes["aria-pressed"] = String(chosen === picture);
    attributes.style = `left:${x}px;bottom:${bottom}px`;
    attributes.onclick = () => choose(picture);
    return [
      make("div", { class: "stem", style: `left:${x}px;height:${bottom}px` }),
      make("button", attributes, make("img", { src: picture.url, alt: "" }), make("i", {}, rank + 1)),
    ];
  });
  shelf.replaceChildren(...drawn);
}

function draw() {
  const [low, high] = span();
  const width = $(".shelf").clientWidth;
  const side = width > 500 ? 64 : 44; // of a small picture; half of one has room at both ends
  const at = (proxy) => side / 2 + ((proxy - low) / (high - low)) * (width - side);
  shelve(at, side);
  const rounded = rounds(low, high).map((proxy) => ({ score: proxy, proxy }));
  const native = ruler.scales.filter((scale) => scale.ticks.length > 0);
  $(".lines").replaceChildren(
    line("proxy", rounded, at, width),
    ...native.map((scale) => line(scale.scale, scale.ticks, at, width)),
  );
  $(".cursor").hidden = cursor === null || at(cursor) < 0 || at(cursor) > width;
  $(".cursor").style.left = `${$(".shelf").offsetLeft + at(cursor)}px`;
}

// The cards

function row(native) {
  const spread = native.std === null ? "" : ` ± ${native.std.toPrecision(2)}`;
  const range = `${Number(native.low.toPrecision(3))}–${Number(native.high.toPrecision(3))}`;
  const within = make("small", { class: native.outside ? "outside" : "" }, native.outside ? `outside ${range}` : `of ${range}`);
  const place = make("td", { class: "place" });
  if (native.percentile !== null) {
    const filled = make("i", { style: `width:${native.percentile}%` });
    place.append(make("div", { class: "bar" }, filled), make("small", {}, native.percentile.toFixed(0)));
  }
  return make("tr", {}, make("td", {}, native.scale), make("td", {}, short(native.score) + spread, " ", within), place);
}

function examples(native) {
  const list = make("dl");
  for (const each of native.filter((scale) => scale.examples.length > 0)) {
    const named = each.examples.map((example) => `${example.image} (${short(example.mos)})`).join(", ");
    list.append(make("dt", {}, each.scale), make("dd", {}, named));
  }
  return list.childElementCount ? [make("details", {}, make("summary", {}, "Training pictures like this"), list)] : [];
}

const HEAD = make("tr", {}, ...["scale", "score", "percentile"].map((name) => make("th", {}, name)));

function card(picture, rank) {
  const { width, height, proxy, std, native } = picture.score;
  const told = short(proxy) + (std === null ? "" : ` ± ${std.toPrecision(2)}`);
  const label = `Remove ${picture.name}`;
  return make(
    "article",
    { class: chosen === picture ? "card chosen" : "card" },
    make("img", { class: "picture", src: picture.url, alt: picture.name }),
    make("button", { class: "remove", type: "button", "aria-label": label, title: label, onclick: () => remove(picture) }, "×"),
    make("h2", {}, `${rank + 1}.`, make("span", { title: "proxy score" }, told)),
    make("p", {}, `${picture.name}, ${width} × ${height}`),
    make("table", {}, make("thead", {}, HEAD.cloneNode(true)), make("tbody", {}, ...native.map(row))),
    ...examples(native),
  );
}

function show() {
  pictures.sort((a, b) => b.score.proxy - a.score.proxy);
  document.querySelector("#ranked").replaceChildren(...pictures.map(card));
  draw();
}

// What happens

$('[data-is="count"]').textContent = ruler.scales.length;
$(".drop input").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $(".drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget === null && $(".drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $(".drop").classList.remove("over");
  add(event.dataTransfer.files);
});
document.addEventListener("told", () => {
  const table = document.querySelector("#translator [data-proxy]");
  cursor = table ? Number(table.dataset.proxy) : null;
  draw();
});
new ResizeObserver(draw).observe($(".board"));
element.setAttribute("data-ready", "");
