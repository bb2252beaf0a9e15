"use strict";
// What every page does: ask the server, and show text as text.

const $ = (id) => document.getElementById(id);
let me = null;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

async function ask(path, { method = "GET", body, type = "application/json" } = {}) {
  const headers = {};
  if (method !== "GET") headers["X-CSRF-Token"] = me.csrf;
  if (body !== undefined) headers["Content-Type"] = type;
  const answer = await fetch(path, { method, headers, body, keepalive: method === "PUT" });
  if (answer.status === 401) location.href = "/login";
  if (answer.status === 204) return null;
  const said = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Error(typeof said.error === "string" ? said.error : JSON.stringify(said.detail ?? said));
  return said;
}

async function signedIn() {
  me = await ask("/api/me");
  $("who").textContent = me.name;
  if ($("out")) $("out").onclick = async () => { await ask("/api/logout", { method: "POST" }); location.href = "/login"; };
}

const short = (value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(3).replace(/\.?0+$/, ""));
