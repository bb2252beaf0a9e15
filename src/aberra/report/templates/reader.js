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
  const unsent = waiting.get(item.id);  // it may be on its way, and has to be taken back there
  const drafted = !grade && !item.saved && (!unsent || unsent.drafted);  // a note alone waits here for its grade
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
      if (waiting.get(id) === said) {  // it may have been changed meanwhile
        if (!said.grade && said.note) waiting.set(id, {...said, drafted: true}); else waiting.delete(id);
      }
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
  const asked = items.filter((item) => !item.nothing), done = asked.filter((item) => own(item).grade).length, rest = items.length - asked.length;
  $("progress").textContent = (reads ? `${done} of ${asked.length} graded by ${data.reader}` : `${asked.length} findings`) + (rest ? `, cases without: ${rest}` : "");
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
    const label = item.nothing || (item.missed ? "missed finding" : "") || [item.region, volume(item)].filter(Boolean).join(" · ");
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
  if (data.blinded || item.missed) return "";
  const of = data.cases[item.case], p = of.p === null ? "–" : number(of.p);
  if (short || item.nothing) return of.score === null ? "" : [`p ${p}`, short ? "" : `score ${number(of.score)}`].filter(Boolean).join(" · ");
  return `p ${p} · score ${number(of.score)} · peak ${number(item.peak)} · mean ${number(item.mean)} · threshold ${number(of.threshold)}`;
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
      const there = new Promise((done) => { image.onload = () => done(true); image.onerror = () => done(false); });
      image.src = `pictures/${id}/${name}.webp`;
      if (await there) said.images[name] = image;
    }));
    return said;
  });
  loaded.set(id, coming);
  while (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
  return coming;
}

const times = (matrix, point) => matrix.map((row) => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);
const mm = (index) => times(shown.toMm, index);

// -- grey window, zoom and place of a view ------------------------------------------------------------
const WINDOWS = [["whole", 0, 1], ["dark half", 0, 0.5], ["middle", 0.25, 0.75], ["bright half", 0.5, 1]];
const NEAREST = 8, STEPS = 1.25, SLIGHT = 4;  // a click that moves by so few pixels is no drag
let preset = 0, low = 0, high = 1, zoom = 1;

function grey(from, to) {  // parts of the range that the pictures have
  const width = Math.min(2, Math.max(0.05, to - from)), middle = Math.min(1, Math.max(0, (from + to) / 2));
  low = Math.max(middle - width / 2, -0.49 * width);
  high = low + width;
  draw();
}

function choose(index) { preset = index % WINDOWS.length; grey(WINDOWS[preset][1], WINDOWS[preset][2]); }
const level = (by) => { preset = -1; grey(low + by, high + by); };
const width = (by) => { preset = -1; grey(low - by / 2, high + by / 2); };

function filter() {  // (x - low) / (high - low) as what a canvas can do: pixels of a page that is a file cannot be read
  const slope = 1 / (high - low), contrast = 1 + 2 * low * slope;
  return low === 0 && high === 1 ? "none" : `brightness(${slope / contrast}) contrast(${contrast})`;
}

function nearer(by, view, x, y) {  // about a point of a canvas that stays where it is, else about the cross
  if (!shown) return;
  const before = figures.map((_, each) => frame(each));
  zoom = Math.min(NEAREST, Math.max(1, zoom * by));
  figures.forEach((figure, each) => {
    const {canvas} = figure, was = before[each], now = frame(each);
    const [px, py] = each === view ? [x, y] : spot(shown.planes[each], was, at);
    const fx = (px - was.left) / was.width, fy = (py - was.top) / was.height;
    look(figure, fx + (canvas.clientWidth / 2 - px) / now.width, fy + (canvas.clientHeight / 2 - py) / now.height);
  });
  draw();
}

function look(figure, x, y) { figure.look = zoom === 1 ? [0.5, 0.5] : [x, y].map((part) => Math.min(1, Math.max(0, part))); }

function follow() {  // what is zoomed in shows the cross
  figures.forEach((figure, view) => {
    const place = frame(view), [x, y] = spot(shown.planes[view], place, at);
    look(figure, (x - place.left) / place.width, (y - place.top) / place.height);
  });
}

function drags(view, canvas) {
  let from = null;
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => { from = {x: event.offsetX, y: event.offsetY, far: false}; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (!from || !event.buttons) return;
    const dx = event.offsetX - from.x, dy = event.offsetY - from.y;
    if (!from.far && Math.hypot(dx, dy) < SLIGHT) return;
    from = {x: event.offsetX, y: event.offsetY, far: true};
    if (event.buttons & 2) { preset = -1; const wide = (high - low) * (1 + dx / 300), middle = (low + high) / 2 + dy / 600; grey(middle - wide / 2, middle + wide / 2); return; }
    const figure = figures[view], place = frame(view);
    look(figure, figure.look[0] - dx / place.width, figure.look[1] - dy / place.height);
    draw();
  });
  canvas.addEventListener("pointerup", (event) => { if (from && !from.far && event.button === 0) point(view, event); from = null; });
}

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
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (event.ctrlKey) nearer(STEPS ** -Math.sign(event.deltaY), view, event.offsetX, event.offsetY); else scroll(view, Math.sign(event.deltaY));
    }, {passive: false});
    canvas.addEventListener("pointerenter", () => { hovered = view; });
    drags(view, canvas);
    figure.append(canvas, slider, caption);
    $("views").append(figure);
    return {canvas, slider, caption, look: [0.5, 0.5]};
  });
}

const slice = (plane) => Math.min(plane.count - 1, Math.max(0, Math.round((at[plane.axis] - plane.first) / plane.step)));
function go(view, index) {
  const plane = shown.planes[view];
  at[plane.axis] = plane.first + plane.step * Math.min(plane.count - 1, Math.max(0, index));
  draw();
}
const scroll = (view, steps) => shown?.planes[view] && go(view, slice(shown.planes[view]) + steps);

function frame(view) {  // where a slice lies on its canvas, in CSS pixels
  const plane = shown.planes[view], {canvas, look: [x, y]} = figures[view];
  const [down, across] = [0, 1, 2].filter((axis) => axis !== plane.axis);
  const wide = shown.shape[across] * shown.spacing[across], tall = shown.shape[down] * shown.spacing[down];
  const scale = zoom * Math.min(canvas.clientWidth / wide, canvas.clientHeight / tall);
  return {down, across, width: wide * scale, height: tall * scale, left: canvas.clientWidth / 2 - x * wide * scale, top: canvas.clientHeight / 2 - y * tall * scale};
}

function spot(plane, place, index) {  // an index of the scan as a point of the canvas
  const along = (index[place.down] + 0.5) / shown.shape[place.down];
  return [place.left + place.width * (index[place.across] + 0.5) / shown.shape[place.across], place.top + place.height * (plane.flip ? 1 - along : along)];
}

function point(view, event) {
  const plane = shown.planes[view], place = frame(view);
  const x = (event.offsetX - place.left) / place.width, y = (event.offsetY - place.top) / place.height;
  if (x < 0 || x > 1 || y < 0 || y > 1) return;
  at[place.across] = Math.min(x * shown.shape[place.across], shown.shape[place.across] - 1e-6) - 0.5;
  at[place.down] = Math.min((plane.flip ? 1 - y : y) * shown.shape[place.down], shown.shape[place.down] - 1e-6) - 0.5;
  draw();
}

const told = () => preset === 0 ? "" : preset > 0 ? WINDOWS[preset][0] : `grey ${Math.round(100 * low)} to ${Math.round(100 * high)} %`;

function draw() {
  $("layer").textContent = shown ? [layer === "healthy" ? (shown.images.healthy ? "HEALTHY VERSION" : "no healthy version") : "scan", LINES[overlay === 1 && !shown.images.map ? 0 : overlay], told(), zoom > 1 && `${number(zoom, 2)}×`].filter(Boolean).join(" · ") : "";
  if (!shown) return;
  shown.planes.forEach((plane, view) => {
    const {canvas, slider, caption} = figures[view], ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const ink = canvas.getContext("2d"), place = frame(view), index = slice(plane), [width, height] = plane.size;
    ink.scale(ratio, ratio);
    ink.imageSmoothingQuality = "high";
    const tile = (image) => image && ink.drawImage(image, (index % plane.columns) * width, plane.top + Math.floor(index / plane.columns) * height, width, height, place.left, place.top, place.width, place.height);
    ink.filter = filter();
    tile(shown.images[layer] || shown.images.scan);
    ink.filter = "none";
    ink.globalAlpha = 0.7;
    if (overlay === 1) tile(shown.images.map);
    ink.globalAlpha = 1;
    if (overlay < 2) outlines(ink, view, index, place);
    cross(ink, plane, place, canvas);
    letters(ink, plane, place, canvas);
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

function letters(ink, plane, place, canvas) {  // at the edges of what is seen
  ink.fillStyle = "#93a1ad";
  ink.shadowColor = "#000";
  ink.shadowBlur = 4;
  ink.font = "12px system-ui, sans-serif";
  ink.textBaseline = "middle";
  const [left, right, top, bottom] = plane.edges, ends = [Math.max(0, place.left), Math.min(canvas.clientWidth, place.left + place.width), Math.max(0, place.top), Math.min(canvas.clientHeight, place.top + place.height)];
  const middle = [(ends[0] + ends[1]) / 2, (ends[2] + ends[3]) / 2];
  ink.textAlign = "center";
  for (const [letter, x, y] of [[left, ends[0] + 8, middle[1]], [right, ends[1] - 8, middle[1]], [top, middle[0], ends[2] + 10], [bottom, middle[0], ends[3] - 9]]) {
    if (letter) ink.fillText(letter, x, y);
  }
}

// -- from finding to finding ------------------------------------------------------------------------
function centre() {
  if (!shown) return;
  const item = items[current];
  at = item.nothing ? shown.shape.map((length) => (length - 1) / 2) : times(shown.toIndex, item.centre).map((value, axis) => Math.min(shown.shape[axis] - 1, Math.max(0, value)));
  follow();
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
  const place = item.nothing ? "" : `at ${item.centre.map((value) => value.toFixed(0)).join(", ")} mm`;
  $("facts").textContent = [item.nothing || (item.missed ? "missed finding" : item.region), volume(item), place, scores && scored(item), scores && of.warnings].filter(Boolean).join(" · ");
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
  $("note").disabled = Boolean(item?.nothing);
  buttons.forEach((button, index) => {
    const {name, missed} = data.grades[index];
    button.setAttribute("aria-pressed", String(Boolean(item) && own(item).grade === name));
    button.disabled = !item || Boolean(item.nothing) || Boolean(item.missed && !missed);
  });
}

function grade(index) {
  const item = items[current];
  if (!reads || !item || item.nothing || buttons[index]?.disabled) return;
  put(item, index < 0 ? "" : data.grades[index].name, $("note").value);
}
function note() { if (reads && items[current] && !items[current].nothing) put(items[current], own(items[current]).grade, $("note").value); }

// -- keys -----------------------------------------------------------------------------------------------
const open = () => $("keys").showModal();
const KEYS = {
  n: () => walk(current + 1), ArrowRight: () => walk(current + 1), p: () => walk(current - 1), ArrowLeft: () => walk(current - 1),
  u: () => { const next = [...items.keys()].map((step) => (current + 1 + step) % items.length).find((index) => !items[index].nothing && !own(items[index]).grade); if (next !== undefined) walk(next); },
  ArrowUp: () => scroll(hovered, 1), ArrowDown: () => scroll(hovered, -1), c: centre, m: miss,
  h: () => { layer = layer === "scan" ? "healthy" : "scan"; draw(); },
  o: () => { overlay = (overlay + 1) % 3; if (overlay === 1 && !shown?.images.map) overlay = 2; draw(); },
  s: () => { if (!data.blinded) { scores = !scores; about(); rows(); } },
  w: () => choose(preset + 1), "[": () => level(0.05), "]": () => level(-0.05), ",": () => width(-0.1), ".": () => width(0.1),
  "+": () => nearer(STEPS), "=": () => nearer(STEPS), "-": () => nearer(1 / STEPS), z: () => { zoom = 1; follow(); choose(0); },
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
const first = items.findIndex((item) => !item.nothing && !own(item).grade);
if (items.length) walk(reads && first > 0 ? first : 0); else $("name").textContent = "nothing to read";
