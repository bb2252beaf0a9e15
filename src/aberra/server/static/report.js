"use strict";

const percent = (share) => (share === null ? "–" : `${Math.round(100 * share)} %`);
const cell = (text, className = "") => element("td", { className, textContent: text ?? "" });

async function load() {
  const found = await ask("/api/report");
  const parts = [`${found.read} of ${found.cases} finished case(s) accepted or rejected`, `${percent(found.sensitivity)} of the findings C1–C3 lie on a region`];
  if (found.undecided) parts.push(`${found.undecided} on which the readers are split, in no number`);
  $("told").textContent = parts.join(" · ");
  $("grades").replaceChildren(...found.grades.map((each) => element("tr", {}, cell(each.grade), cell(each.meaning, "soft"), cell(each.objects, "n"), cell(each.missed, "n"), cell(percent(each.found), "n"))));
  $("missed").replaceChildren(...found.missed.map((each) => element("tr", {},
    element("td", { className: "name" }, element("a", { href: `/cases/${each.case}`, textContent: each.name })),
    cell(each.place.map((value) => value.toFixed(0)).join(", ")), cell(each.grade ?? "split"), cell(each.readers.join(", "), "soft"), cell(each.notes.join("; "), "why"))));
  if (!found.missed.length) $("missed").append(element("tr", {}, element("td", { colSpan: 5, className: "soft", textContent: "None. Readers mark one in the viewer with m." })));
}

signedIn().then(load);
