"use strict";
// One case: the scan in three planes, what is unusual over it, and what the reader says.

const number = Number(location.pathname.split("/").pop());
const layers = {}; // name to index in NiiVue
const CASE = "case";
let found = null, viewer = null, view = 0, target = CASE, shows = { healthy: false, map: true, truth: false }, waiting = null;

// -- the picture ----------------------------------------------------------------------------------

async function draw() {
  if (!found.layers.includes("scan")) return say("The scan has not been read yet.");
  if (typeof niivue === "undefined") return say("The viewer is not installed: run scripts/viewer where the server is.");
  say("loading …");
  viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [0.43, 0.7, 0.82, 0.55], crosshairWidth: 0.6, crosshairGap: 6, fontColor: [0.55, 0.6, 0.66, 1], fontMinPx: 15,
    isRadiologicalConvention: true, multiplanarForceRender: false, isColorbar: false, loadingText: "", dragAndDropEnabled: false,
    viewModeHotKey: "", clipPlaneHotKey: "", isRuler: false, show3Dcrosshair: true, tileMargin: 4, multiplanarShowRender: 0,
  });
  await viewer.attachTo("canvas");
  const url = (name) => `/api/cases/${number}/${name}.nii.gz`;
  const wanted = [{ name: "scan", colormap: "gray", opacity: 1 }];
  const scale = found.result?.scale ?? { low: 0, high: 1 };
  if (found.layers.includes("reconstruction")) wanted.push({ name: "reconstruction", colormap: "gray", opacity: 0 });
  if (found.layers.includes("map")) wanted.push({ name: "map", colormap: "warm", opacity: 0.6, cal_min: scale.low, cal_max: scale.high });
  if (found.layers.includes("truth")) wanted.push({ name: "truth", colormap: "green", opacity: 0, cal_min: 0.5, cal_max: 1.2 });
  wanted.forEach((each, index) => { layers[each.name] = index; });
  await viewer.loadVolumes(wanted.map((each) => ({ ...each, url: url(each.name), name: `${each.name}.nii.gz` })));
  for (const name of ["map", "truth"]) if (name in layers) viewer.volumes[layers[name]].colormapType = 2; // nothing below the lower end is drawn
  viewer.onLocationChange = (where) => say(`${[...where.mm].slice(0, 3).map((value) => value.toFixed(0)).join(", ")} mm`);
  viewer.setSliceType(viewer.sliceTypeMultiplanar);
  say("");
  apply();
  window.ready = true;
}

const say = (text) => { $("say").textContent = text; };

function threshold() {
  const top = peak();
  return top * (Number($("threshold").value) / 1000) ** 2; // finer at the low end
}

const peak = () => Math.max(found.result?.scale.high ?? 1, found.result?.threshold.value ?? 0, ...(found.result?.components ?? []).map((each) => each.peak));

function apply() {
  $("threshold-is").textContent = short(threshold());
  $("opacity-is").textContent = `${$("opacity").value} %`;
  for (const name of ["healthy", "map", "truth"]) $(`show-${name}`).setAttribute("aria-pressed", shows[name]);
  $("which").textContent = shows.healthy ? "healthy version" : "scan";
  if (!viewer) return;
  const opacity = { scan: 1, reconstruction: shows.healthy ? 1 : 0, map: shows.map ? $("opacity").value / 100 : 0, truth: shows.truth ? 0.5 : 0 };
  if ("map" in layers) {
    const volume = viewer.volumes[layers.map];
    volume.cal_min = Math.max(threshold(), 1e-9);
    volume.cal_max = Math.max(found.result.scale.high, volume.cal_min * 1.01);
  }
  for (const [name, index] of Object.entries(layers)) viewer.volumes[index].opacity = opacity[name];
  viewer.updateGLVolume();
}

function toggle(name) {
  if ($(`show-${name}`).disabled) return;
  shows[name] = !shows[name];
  apply();
}

function turn() {
  if (!viewer) return;
  const kinds = [viewer.sliceTypeMultiplanar, viewer.sliceTypeAxial, viewer.sliceTypeCoronal, viewer.sliceTypeSagittal];
  view = (view + 1) % kinds.length;
  viewer.setSliceType(kinds[view]);
}

// -- regions, and findings that no region lies on ---------------------------------------------------

const isPlace = (name) => name.includes(",");

function targets() { // regions by number, then missed findings by place; one that has just been marked is not saved yet
  const regions = (found.result?.components ?? []).map((_, index) => String(index + 1));
  return [...regions, ...new Set([...Object.keys(found.readings.mine), target].filter(isPlace))];
}

const placeOf = (name) => isPlace(name) ? name.split(",").map(Number) : found.result.components[name - 1].centre_mm;

function go(to) {
  const every = targets();
  if (!every.length) return;
  target = every[Math.min(Math.max(to, 0), every.length - 1)];
  fill();
  if (!viewer) return;
  viewer.scene.crosshairPos = viewer.mm2frac(new Float32Array(placeOf(target)));
  viewer.createOnLocationChange();
  viewer.drawScene();
}

function miss() {
  if (!viewer || found.status !== "done") return;
  noted();
  target = [...viewer.frac2mm(viewer.scene.crosshairPos)].slice(0, 3).map((value) => (Math.round(10 * value) / 10 + 0).toFixed(1)).join(",");
  fill();
}

function line(name) {
  const said = found.readings.mine[name]?.grade ?? "", each = isPlace(name) ? null : found.result.components[name - 1];
  return [each ? name : "0", each ? `${Math.round(each.volume_mm3).toLocaleString("en")} mm³, peak ${short(each.peak)}` : `missed, at ${placeOf(name).map((value) => value.toFixed(0)).join(", ")} mm`, said];
}

function fill() {
  const mine = found.readings.mine, every = targets();
  $("regions").replaceChildren(...every.map((name, index) => {
    const [shown, told, said] = line(name);
    const button = element("button", { onclick: () => go(index) },
      element("span", { className: "soft", textContent: shown }), element("span", { textContent: told }), element("span", { className: "warm", textContent: said }));
    button.setAttribute("aria-current", name === target);
    return element("li", {}, button);
  }));
  if (!every.length) $("regions").append(element("li", { className: "soft", textContent: found.status === "done" ? "none above the threshold" : found.error || found.status }));
  $("regions").querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest" });
  $("grading").textContent = target === CASE ? "Note on the case" : isPlace(target) ? "Grade of the missed finding" : `Grade of region ${target}`;
  $("grades").replaceChildren(...(target === CASE ? [] : Object.entries(me.grades)).map(([name, meaning], index) => pressed(name, meaning, index + 1, target)));
  $("decisions").replaceChildren(...Object.entries(me.decisions).map(([name, meaning]) => pressed(name, meaning, name[0], CASE)));
  $("note").value = mine[target]?.note ?? "";
  $("note").disabled = $("miss").disabled = found.status !== "done";
  showAll();
}

function pressed(name, meaning, key, of) {
  const button = element("button", { title: meaning, onclick: () => grade(name, of), disabled: found.status !== "done" || !may(name, of) }, element("kbd", { textContent: key }), name);
  button.setAttribute("aria-pressed", found.readings.mine[of]?.grade === name);
  return button;
}

const may = (name, of) => !isPlace(of) || me.missed.includes(name); // of nothing nobody says that it was missed

function showAll() {
  const others = found.readings.all ?? [];
  if (!others.length) return $("all").replaceChildren();
  const line = (each) => element("tr", {}, ...[each.reader, isPlace(each.target) ? `missed at ${each.target.replaceAll(",", ", ")}` : each.target, each.grade, each.note].map((text) => element("td", { textContent: text })));
  $("all").replaceChildren(element("h2", { textContent: "All readers" }), element("table", { className: "all" }, element("tbody", {}, ...others.map(line))));
}

// -- what the reader says -------------------------------------------------------------------------

function grade(name, of = target) {
  if (found.status !== "done" || !may(name, of)) return;
  const now = found.readings.mine[of] ?? { grade: "", note: "" };
  save(of, now.grade === name ? "" : name, of === target ? $("note").value : now.note);
}

async function save(of, name, note) {
  $("saved").className = "soft";
  $("saved").textContent = "saving …";
  const before = found.readings.mine[of];
  found.readings.mine[of] = { grade: name, note };
  try {
    const said = await ask(`/api/cases/${number}/readings/${of}`, { method: "PUT", body: JSON.stringify({ grade: name, note }) });
    found.readings = said;
    $("saved").textContent = `saved ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    found.readings.mine[of] = before;
    $("saved").className = "bad";
    $("saved").textContent = `NOT saved: ${error.message}`;
  }
  fill();
}

function noted() {
  clearTimeout(waiting);
  const of = target, text = $("note").value;
  if ((found.readings.mine[of]?.note ?? "") !== text) return save(of, found.readings.mine[of]?.grade ?? "", text);
}

async function remove() {
  try {
    await ask(`/api/cases/${number}`, { method: "DELETE" });
    location.href = "/";
  } catch (error) { $("sure-not").textContent = `NOT deleted: ${error.message}`; }
}

const KEYS = {
  n: () => walk(1), p: () => walk(-1), ArrowDown: () => walk(1), ArrowUp: () => walk(-1), m: miss, h: () => toggle("healthy"), o: () => toggle("map"),
  t: () => toggle("truth"), v: turn, a: () => grade("accept", CASE), r: () => grade("reject", CASE), w: () => { location.href = "/"; },
  ".": () => $("next").click(), ",": () => $("previous").click(), "+": () => step(20), "-": () => step(-20),
};

function walk(by) { go(targets().indexOf(target) + by); }

function step(by) { $("threshold").value = Number($("threshold").value) + by; apply(); }

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !found || ["TEXTAREA", "SELECT"].includes(event.target.tagName) || $("sure").open) return;
  if (event.target.type === "range" && event.key.startsWith("Arrow")) return;
  const name = Object.keys(me.grades)[Number(event.key) - 1];
  const act = KEYS[event.key] ?? (name && target !== CASE ? () => grade(name) : null);
  if (!act) return;
  event.preventDefault();
  event.stopPropagation(); // NiiVue has keys of its own
  act();
}, true);

async function begin() {
  await signedIn();
  found = await ask(`/api/cases/${number}`);
  document.title = `aberra · ${found.name}`;
  $("name").textContent = found.name;
  $("model").textContent = found.model || found.detector;
  $("p").textContent = short(found.p);
  $("score").textContent = short(found.score);
  $("count").textContent = found.status === "done" ? found.regions : "–";
  const notes = [...(found.result?.warnings ?? []), ...(found.result?.gate?.trusted === false ? ["not trusted: unlike what the detector has learnt"] : []), ...(found.error ? [found.error] : [])];
  $("warnings").replaceChildren(...notes.map((text) => element("div", { className: "note-line", textContent: text })));
  for (const [id, to] of [["previous", found.previous], ["next", found.next]]) {
    $(id).disabled = to === null;
    $(id).onclick = () => { if (to !== null) location.href = `/cases/${to}`; };
  }
  const facts = found.result ? { threshold: `${short(found.result.threshold.value)} (${found.result.threshold.protocol})`, model: Object.values(found.result.model).join(", "), uploaded: `${found.uploaded_by}` } : {};
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([key, text]) => [element("dt", { textContent: key }), element("dd", { textContent: text })]));
  $("show-healthy").disabled = !found.layers.includes("reconstruction");
  $("show-map").disabled = !found.layers.includes("map");
  $("show-truth").disabled = !found.layers.includes("truth");
  $("show-healthy").onclick = () => toggle("healthy");
  $("show-map").onclick = () => toggle("map");
  $("show-truth").onclick = () => toggle("truth");
  $("show-view").onclick = turn;
  if (found.result) $("threshold").value = 1000 * Math.sqrt(found.result.threshold.value / peak());
  $("threshold").oninput = $("opacity").oninput = apply;
  $("note").onchange = noted;
  $("miss").onclick = miss;
  $("delete").hidden = me.role !== "admin";
  $("delete").onclick = () => { $("sure-name").textContent = found.name; $("sure-not").textContent = ""; $("sure").showModal(); };
  $("sure-yes").onclick = remove;
  window.addEventListener("pagehide", noted);
  $("note").oninput = () => { clearTimeout(waiting); waiting = setTimeout(noted, 1500); };
  fill();
  apply();
  await draw();
  go(0);
}

begin().catch((error) => say(error.message));
