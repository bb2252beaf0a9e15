"use strict";

let page = 1, pages = 1;

function query() {
  const wanted = new URLSearchParams({ page });
  for (const key of ["status", "detector", "text"]) if ($(key).value) wanted.set(key, $(key).value);
  return wanted;
}

async function load() {
  const found = await ask(`/api/cases?${query()}`);
  pages = found.pages;
  if (page > pages) { page = pages; return load(); }
  $("rows").replaceChildren(...found.cases.map(row));
  if (!found.cases.length) $("rows").append(element("tr", {}, element("td", { colSpan: 7, className: "soft", textContent: "No case here. Upload scans: .nii, .nii.gz, or a zip of DICOM files." })));
  $("page").textContent = `page ${page} of ${pages}, ${found.total} case(s)`;
  $("back").disabled = page <= 1;
  $("forth").disabled = page >= pages;
  $("counts").textContent = Object.entries(found.counts).map(([status, count]) => `${count} ${status}`).join(" · ");
}

function row(each) {
  const link = element("a", { href: `/cases/${each.id}`, textContent: each.name });
  const why = element("td", { className: "why", textContent: each.reason || (each.status === "done" ? "no region above the threshold" : "") });
  if (each.warnings) why.append(element("div", { className: "warm", textContent: each.warnings }));
  if (each.error) why.append(element("div", { className: "bad", textContent: each.error }));
  const line = element("tr", {},
    element("td", { className: "n", textContent: short(each.p) }),
    element("td", { className: "n", textContent: short(each.score) }),
    element("td", { className: "name" }, link), why,
    element("td", { className: "soft", textContent: each.model || each.detector }),
    element("td", { className: "soft", id: `status-${each.id}` }),
    element("td", { textContent: each.grade }));
  line.dataset.id = each.id;
  line.onclick = (event) => { if (event.target !== link) location.href = link.href; };
  state(line.children[5], each);
  return line;
}

function state(cell, each) {
  cell.replaceChildren(each.status);
  if (each.status === "running" && each.windows) cell.append(" ", element("progress", { max: each.windows, value: each.windows_done }));
}

async function upload(files) {
  let done = 0;
  const refused = [];
  for (const file of files) {
    $("told").textContent = `sending ${file.name} (${++done} of ${files.length})`;
    const wanted = new URLSearchParams({ name: file.name, detector: $("ask").value });
    try {
      const said = await ask(`/api/uploads?${wanted}`, { method: "POST", body: file, type: "application/octet-stream" });
      if (said.known) refused.push(`${file.name}: is here already`);
    } catch (error) { refused.push(`${file.name}: ${error.message}`); }
    await load();
  }
  $("told").textContent = [`${files.length - refused.length} of ${files.length} file(s) taken`, ...refused].join("\n");
}

function later(run, wait) {
  let timer;
  return () => { clearTimeout(timer); timer = setTimeout(run, wait); };
}

async function begin() {
  await signedIn();
  const option = (value) => element("option", { value, textContent: value });
  $("status").append(...me.filters.map(option));
  $("detector").append(...me.detectors.map(option));
  $("ask").append(...me.detectors.map(option));
  $("audit").hidden = $("report").hidden = $("table").hidden = me.role !== "admin";
  const first = () => { page = 1; load(); };
  $("status").onchange = $("detector").onchange = first;
  $("text").oninput = later(first, 250);
  $("back").onclick = () => { page -= 1; load(); };
  $("forth").onclick = () => { page += 1; load(); };
  $("pick").onclick = () => $("files").click();
  $("files").onchange = () => upload([...$("files").files]);
  const main = document.querySelector("main");
  main.ondragover = (event) => { event.preventDefault(); main.classList.add("over"); };
  main.ondragleave = () => main.classList.remove("over");
  main.ondrop = (event) => { event.preventDefault(); main.classList.remove("over"); upload([...event.dataTransfer.files]); };
  await load();
  const reload = later(load, 400);
  new EventSource("/api/events").addEventListener("case", (event) => {
    const each = JSON.parse(event.data), cell = $(`status-${each.id}`);
    if (each.status === "running" && cell) state(cell, each); else reload();
  });
}

begin();
