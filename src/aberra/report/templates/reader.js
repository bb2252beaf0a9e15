"use strict";
// -- what is read ---------------------------------------------------------------------------------
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const make = (tag, text, kind) => {  // text is never read as HTML
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const items = data.items, reads = data.reader !== "";
const ROW = 42, KEPT = 4, RETRY = 3000;
const LINES = ["outline", "outline and map", "no overlay"];
let current = -1, at = [0, 0, 0], shown = null, layer = "scan", overlay = 0, scores = false, hovered = 0;

// -- grades: in this browser until the server says that they are on its disk ------------------------
const STORE = `aberra ${data.identity} ${data.reader}`;
let waiting = new Map(), sending = false, trouble = "", kept = true;
const own = (item) => waiting.get(item.id) || item.saved || {grade: "", note: ""};

function keep() {
  try {
    if (waiting.size) localStorage.setItem(STORE, JSON.stringify([...waiting])); else localStorage.removeItem(STORE);
    kept = true;
  } catch { kept = false; }
}

function restore() {
  try { waiting = new Map(JSON.parse(localStorage.getItem(STORE) || "[]")); } catch { return; }
  for (const id of waiting.keys()) {
    const [from, place] = id.split("@");
    const of = data.cases.findIndex((each) => each.id === from);
    if (place && of >= 0 && !items.some((item) => item.id === id)) add(id, of, place.split(",").map(Number));
  }
}

function put(item, grade, note) {
  const before = own(item);
  if (before.grade === grade && before.note === note) return;
  const drafted = !grade && !item.saved;  // a note alone waits here for its grade
  if (drafted && !note) waiting.delete(item.id); else waiting.set(item.id, {grade, note, drafted});
  keep();
  tell();
  send();
}

async function send() {
  if (sending || !reads) return;
  sending = true;
  try {
    for (;;) {
      const next = [...waiting].find(([, said]) => !said.drafted && !said.refused);
      if (!next) break;
      const [id, said] = next;
      const answer = await fetch("grade", {method: "POST", body: JSON.stringify({id, grade: said.grade, note: said.note})});
      const told = await answer.json();
      if (answer.status === 400) { said.refused = told.why; keep(); trouble = told.why; tell(); continue; }
      if (!answer.ok) throw new Error(told.why);
      const item = items.find((each) => each.id === id);
      if (item) item.saved = said.grade ? {grade: said.grade, note: said.note} : null;
      if (waiting.get(id) === said) waiting.delete(id);  // it may have been changed meanwhile
      keep();
      trouble = "";
      tell();
    }
  } catch (error) {
    trouble = error instanceof TypeError ? "the server does not answer; start aberra read again and open the address it prints" : error.message;
    tell();
    setTimeout(send, RETRY);
  } finally { sending = false; }
}

function tell() {
  const unsent = [...waiting.values()].filter((said) => !said.drafted).length;
  $("saved").textContent = !reads ? "" : unsent ? `not saved: ${unsent}` : waiting.size ? "a note waits for its grade" : "saved";
  $("saved").classList.toggle("unsaved", waiting.size > 0);
  const done = items.filter((item) => own(item).grade).length;
  $("progress").textContent = reads ? `${done} of ${items.length} graded by ${data.reader}` : `${items.length} findings`;
  problem();
  controls();
  rows();
}

function problem() {
  const of = current < 0 ? null : data.cases[items[current].case];
  $("problem").textContent = [trouble && `not saved: ${trouble}`, of && of.problem && `no pictures: ${of.problem}`].filter(Boolean).join(" · ");
}

// -- a finding that was missed ----------------------------------------------------------------------
function add(id, of, centre) {
  let last = items.findLastIndex((item) => item.case === of);
  items.splice(last + 1, 0, {id, missed: true, case: of, centre, saved: null, given: []});
  if (current > last) current += 1;
  return last + 1;
}

function miss() {
  if (!reads || !shown || data.judges.length) return;
  const of = items[current].case, place = mm(at).map((value) => value.toFixed(1)), id = `${data.cases[of].id}@${place}`;
  const there = items.findIndex((item) => item.id === id);
  walk(there >= 0 ? there : add(id, of, place.map(Number)));
}

// -- the list: only the rows in sight are there -------------------------------------------------------
function rows() {
  const list = $("list"), holder = $("rows");
  holder.style.height = `${items.length * ROW}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 3), last = Math.min(items.length, first + Math.ceil(list.clientHeight / ROW) + 7);
  holder.replaceChildren();
  for (let index = first; index < last; index += 1) {
    const item = items[index], said = own(item), row = make("div", undefined, "row");
    row.id = `row-${index}`;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(index === current));
    row.setAttribute("aria-posinset", String(index + 1));
    row.setAttribute("aria-setsize", String(items.length));
    row.style.top = `${index * ROW}px`;
    const label = item.missed ? "missed finding" : [item.region, volume(item)].filter(Boolean).join(" · ");
    const name = make("div"), facts = make("div", undefined, "soft");
    name.append(make("span", data.cases[item.case].case), make("b", said.grade, waiting.has(item.id) ? "unsaved" : ""));
    facts.append(make("span", label), make("b", scores ? scored(item, true) : ""));
    row.append(name, facts);
    row.title = data.cases[item.case].case;
    row.addEventListener("click", () => walk(index));
    holder.append(row);
  }
  list.setAttribute("aria-activedescendant", `row-${current}`);
}

const number = (value, digits = 3) => Number(value.toPrecision(digits)).toLocaleString("en");
const volume = (item) => item.volume_mm3 === undefined ? "" : `${number(item.volume_mm3 / 1000)} ml`;

function scored(item, short = false) {
  if (item.peak === undefined) return "";
  const of = data.cases[item.case], p = of.p === null ? "–" : number(of.p);
  return short ? `p ${p}` : `p ${p} · score ${number(of.score)} · peak ${number(item.peak)} · mean ${number(item.mean)} · threshold ${number(of.threshold)}`;
}

// -- pictures ---------------------------------------------------------------------------------------
const loaded = new Map();  // case to what is said of it and its layers; the last few stay
const asked = new Map();
window.aberraCase = (id, said) => asked.get(id)?.(said);

function load(of) {
  const id = data.cases[of].id;
  if (data.cases[of].problem) return Promise.resolve(null);
  const there = loaded.get(id);
  if (there) { loaded.delete(id); loaded.set(id, there); return there; }
  const coming = new Promise((done) => {
    asked.set(id, done);
    const script = make("script");
    script.src = `pictures/${id}/case.js`;
    script.onload = () => script.remove();
    script.onerror = () => { script.remove(); loaded.delete(id); done(null); };
    document.head.append(script);
  }).then(async (said) => {
    asked.delete(id);
    if (!said) return null;
    said.images = {};
    await Promise.all(said.layers.filter((name) => !(data.blinded && name === "map")).map(async (name) => {
      const image = new Image();
      image.src = `pictures/${id}/${name}.webp`;
      try { await image.decode(); said.images[name] = image; } catch { /* the layer is not there */ }
    }));
    return said;
  });
  loaded.set(id, coming);
  while (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
  return coming;
}

const times = (matrix, point) => matrix.map((row) => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);
const mm = (index) => times(shown.toMm, index);

let figures = [];
function views() {
  $("views").replaceChildren();
  $("views").classList.toggle("single", shown?.planes.length === 1);
  figures = (shown?.planes || []).map((plane, view) => {
    const figure = make("figure"), canvas = make("canvas"), slider = make("input"), caption = make("figcaption", plane.name);
    canvas.setAttribute("role", "img");
    slider.type = "range";
    slider.max = plane.count - 1;
    slider.hidden = plane.count < 2;
    slider.setAttribute("aria-label", `${plane.name} slice`);
    slider.addEventListener("input", () => go(view, Number(slider.value)));
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); scroll(view, Math.sign(event.deltaY)); }, {passive: false});
    canvas.addEventListener("pointerenter", () => { hovered = view; });
    canvas.addEventListener("click", (event) => point(view, event));
    figure.append(canvas, slider, caption);
    $("views").append(figure);
    return {canvas, slider, caption};
  });
}

const slice = (plane) => Math.min(plane.count - 1, Math.max(0, Math.round((at[plane.axis] - plane.first) / plane.step)));
function go(view, index) {
  const plane = shown.planes[view];
  at[plane.axis] = plane.first + plane.step * Math.min(plane.count - 1, Math.max(0, index));
  draw();
}
const scroll = (view, steps) => shown?.planes[view] && go(view, slice(shown.planes[view]) + steps);

function frame(plane, canvas) {  // where a slice lies on its canvas, in CSS pixels
  const [down, across] = [0, 1, 2].filter((axis) => axis !== plane.axis);
  const wide = shown.shape[across] * shown.spacing[across], tall = shown.shape[down] * shown.spacing[down];
  const scale = Math.min(canvas.clientWidth / wide, canvas.clientHeight / tall);
  return {down, across, width: wide * scale, height: tall * scale, left: (canvas.clientWidth - wide * scale) / 2, top: (canvas.clientHeight - tall * scale) / 2};
}

function spot(plane, place, index) {  // an index of the scan as a point of the canvas
  const along = (index[place.down] + 0.5) / shown.shape[place.down];
  return [place.left + place.width * (index[place.across] + 0.5) / shown.shape[place.across], place.top + place.height * (plane.flip ? 1 - along : along)];
}

function point(view, event) {
  const plane = shown.planes[view], {canvas} = figures[view], place = frame(plane, canvas);
  const x = (event.offsetX - place.left) / place.width, y = (event.offsetY - place.top) / place.height;
  if (x < 0 || x > 1 || y < 0 || y > 1) return;
  at[place.across] = Math.min(x * shown.shape[place.across], shown.shape[place.across] - 1e-6) - 0.5;
  at[place.down] = Math.min((plane.flip ? 1 - y : y) * shown.shape[place.down], shown.shape[place.down] - 1e-6) - 0.5;
  draw();
}

function draw() {
  $("layer").textContent = shown ? [layer === "healthy" ? (shown.images.healthy ? "HEALTHY VERSION" : "no healthy version") : "scan", LINES[overlay === 1 && !shown.images.map ? 0 : overlay]].join(" · ") : "";
  if (!shown) return;
  shown.planes.forEach((plane, view) => {
    const {canvas, slider, caption} = figures[view], ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const ink = canvas.getContext("2d"), place = frame(plane, canvas), index = slice(plane), [width, height] = plane.size;
    ink.scale(ratio, ratio);
    ink.imageSmoothingQuality = "high";
    const tile = (image) => image && ink.drawImage(image, (index % plane.columns) * width, plane.top + Math.floor(index / plane.columns) * height, width, height, place.left, place.top, place.width, place.height);
    tile(shown.images[layer] || shown.images.scan);
    ink.globalAlpha = 0.7;
    if (overlay === 1) tile(shown.images.map);
    ink.globalAlpha = 1;
    if (overlay < 2) outlines(ink, view, index, place);
    cross(ink, plane, place, canvas);
    letters(ink, plane, place);
    slider.value = index;
    caption.textContent = plane.count < 2 ? plane.name : `${plane.name} ${index + 1}/${plane.count}`;
    canvas.setAttribute("aria-label", `${plane.name} slice ${index + 1} of ${plane.count}, ${layer}`);
  });
}

function outlines(ink, view, index, place) {
  for (const [id, planes] of Object.entries(shown.outlines)) {
    const mine = id === items[current].id;
    if (data.judges.length && !mine) continue;
    ink.strokeStyle = mine ? "#ffd166" : "#b9c4cd";
    ink.lineWidth = mine ? 1.8 : 1;
    for (const line of planes[view][index] || []) {
      ink.beginPath();
      for (let n = 0; n < line.length; n += 2) ink.lineTo(place.left + place.width * line[n] / 4096, place.top + place.height * line[n + 1] / 4096);
      ink.stroke();
    }
  }
}

function cross(ink, plane, place, canvas) {
  const [x, y] = spot(plane, place, at), gap = 14;
  ink.strokeStyle = "#6cc3de88";
  ink.lineWidth = 1;
  for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, canvas.clientWidth, y], [x, 0, x, y - gap], [x, y + gap, x, canvas.clientHeight]]) {
    ink.beginPath();
    ink.moveTo(x0, y0);
    ink.lineTo(x1, y1);
    ink.stroke();
  }
}

function letters(ink, plane, place) {
  ink.fillStyle = "#93a1ad";
  ink.font = "12px system-ui, sans-serif";
  ink.textBaseline = "middle";
  const [left, right, top, bottom] = plane.edges, middle = [place.left + place.width / 2, place.top + place.height / 2];
  ink.textAlign = "center";
  for (const [letter, x, y] of [[left, place.left + 8, middle[1]], [right, place.left + place.width - 8, middle[1]], [top, middle[0], place.top + 10], [bottom, middle[0], place.top + place.height - 9]]) {
    if (letter) ink.fillText(letter, x, y);
  }
}

// -- from finding to finding ------------------------------------------------------------------------
function centre() {
  if (!shown) return;
  at = times(shown.toIndex, items[current].centre).map((value, axis) => Math.min(shown.shape[axis] - 1, Math.max(0, value)));
  draw();
}

async function walk(index) {
  if (!items.length) return;
  const to = Math.min(items.length - 1, Math.max(0, index)), before = current < 0 ? -1 : items[current].case;
  note();
  current = to;
  const item = items[to], of = data.cases[item.case], list = $("list");
  if (to * ROW < list.scrollTop || (to + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (to + 0.5) * ROW - list.clientHeight / 2;
  $("place").textContent = `${to + 1} / ${items.length}`;
  $("name").textContent = $("name").title = of.case;
  $("note").value = own(item).note;
  $("given").replaceChildren(...item.given.flatMap((each) => [make("b", each.reader), document.createTextNode(`: ${each.grade}${each.note ? ` (${each.note})` : ""}   `)]));
  about();
  tell();
  const said = await load(item.case);
  if (current !== to) return;  // walked on meanwhile
  const again = before === item.case && shown === said;
  shown = said;
  if (!said && !of.problem) $("problem").textContent = "no pictures: they cannot be loaded";
  if (!again) views();
  centre();
  if (!shown) draw();
  document.body.dataset.ready = item.id;
  if (items[to + 1]) load(items[to + 1].case);
}

function about() {
  const item = items[current], of = data.cases[item.case];
  const place = item.centre.map((value) => value.toFixed(0)).join(", ");
  $("facts").textContent = [item.missed ? "missed finding" : item.region, volume(item), `at ${place} mm`, scores && scored(item), scores && of.warnings].filter(Boolean).join(" · ");
  $("facts").title = $("facts").textContent;
}

// -- grading ------------------------------------------------------------------------------------------
const buttons = data.grades.map(({name, meaning}, index) => {
  const button = make("button");
  button.append(make("kbd", String(index + 1)), document.createTextNode(name));
  button.title = meaning;
  button.setAttribute("aria-label", `${name}: ${meaning}`);
  button.addEventListener("click", () => grade(index));
  $("grades").append(button);
  $("meanings").append(make("dt", `${index + 1} ${name}`), make("dd", meaning));
  return button;
});

function controls() {
  const item = items[current];
  buttons.forEach((button, index) => {
    const {name, missed} = data.grades[index];
    button.setAttribute("aria-pressed", String(Boolean(item) && own(item).grade === name));
    button.disabled = !item || Boolean(item.missed && !missed);
  });
}

function grade(index) {
  const item = items[current];
  if (!reads || !item || buttons[index]?.disabled) return;
  put(item, index < 0 ? "" : data.grades[index].name, $("note").value);
}
function note() { if (reads && items[current]) put(items[current], own(items[current]).grade, $("note").value); }

// -- keys -----------------------------------------------------------------------------------------------
const open = () => $("keys").showModal();
const KEYS = {
  n: () => walk(current + 1), ArrowRight: () => walk(current + 1), p: () => walk(current - 1), ArrowLeft: () => walk(current - 1),
  u: () => { const next = [...items.keys()].map((step) => (current + 1 + step) % items.length).find((index) => !own(items[index]).grade); if (next !== undefined) walk(next); },
  ArrowUp: () => scroll(hovered, 1), ArrowDown: () => scroll(hovered, -1), c: centre, m: miss,
  h: () => { layer = layer === "scan" ? "healthy" : "scan"; draw(); },
  o: () => { overlay = (overlay + 1) % 3; if (overlay === 1 && !shown?.images.map) overlay = 2; draw(); },
  s: () => { if (!data.blinded) { scores = !scores; about(); rows(); } },
  Enter: () => reads && $("note").focus(), "?": open, 0: () => grade(-1),
};
data.grades.forEach((_, index) => { KEYS[index + 1] = () => grade(index); });
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("keys").open) return;
  const where = event.target;
  if (where === $("note")) {
    if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) { event.preventDefault(); where.blur(); }
    return;
  }
  if ((event.key === "Enter" && where.tagName === "BUTTON") || (where.type === "range" && event.key.startsWith("Arrow"))) return;
  const does = KEYS[event.key];
  if (does) { event.preventDefault(); does(); }
});
$("note").addEventListener("blur", note);
$("next").addEventListener("click", KEYS.n);
$("previous").addEventListener("click", KEYS.p);
$("ask").addEventListener("click", open);
$("list").addEventListener("scroll", rows);
new ResizeObserver(() => { rows(); draw(); }).observe($("views"));
window.addEventListener("beforeunload", (event) => { note(); if (waiting.size && !kept) event.preventDefault(); });

document.body.classList.toggle("looking", !reads);
if (reads) restore();
tell();
send();
const first = items.findIndex((item) => !own(item).grade);
if (items.length) walk(reads && first > 0 ? first : 0); else $("name").textContent = "nothing to read";
