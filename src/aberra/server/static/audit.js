"use strict";

let last = null;

async function load() {
  const found = await ask(`/api/audit${last === null ? "" : `?before=${last}`}`);
  for (const each of found) {
    const cell = (text) => element("td", { textContent: text ?? "" });
    const of = each.case === null ? cell("") : element("td", {}, element("a", { href: `/cases/${each.case}`, textContent: each.case }));
    $("rows").append(element("tr", {}, cell(each.time), cell(each.who), cell(each.what), of, cell(each.region), cell(each.before), cell(each.after)));
    last = each.id;
  }
  $("more").disabled = !found.length;
}

signedIn().then(() => { $("more").onclick = load; return load(); });
