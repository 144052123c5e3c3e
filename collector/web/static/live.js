// Keeps the page true: rows that the collector sends, ages that go on counting, and a clear word
// when nothing comes any more.  Without this script the page is a still picture that says so.

import { ageWords, language, now, setNow, timeWords, words } from "./clock.js";

const SILENT_MS = 6000; // three heartbeats of the stream
const RETRY_MS = 2000;
const body = document.body;

// --- rows -------------------------------------------------------------------------------------

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

/** Makes `old` like `fresh` and keeps what a person is doing there: focus, typed text, opened details. */
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType === Node.ELEMENT_NODE && old.hasAttribute("data-keep")) return; // asked for by hand; stays
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const before = [...old.childNodes];
  const after = [...fresh.childNodes];
  after.forEach((node, i) => (i < before.length ? morph(before[i], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

/** Puts an element where its `data-order` belongs among its siblings. */
function place(element, parent) {
  const order = element.dataset.order || "";
  const next = [...parent.children].find((other) => other !== element && (other.dataset.order || "") > order);
  if (element.parentNode !== parent || element.nextElementSibling !== (next || null)) {
    parent.insertBefore(element, next || null);
  }
}

function put({ id, into, html }) {
  const fresh = parse(html);
  const old = document.getElementById(id);
  if (old) morph(old, fresh);
  const element = old || fresh;
  const parent = into ? document.getElementById(into) : element.parentNode;
  if (parent && into) place(element, parent);
}

function isTyping() {
  return [...document.querySelectorAll("form.acknowledge input:not([type=hidden])")].some(
    (input) => input.value !== "" || input === document.activeElement,
  );
}

/** Loads the page again when gateways or points are new or gone; not while somebody types, not in a circle. */
function reloadIfOther(structure) {
  if (structure === body.dataset.structure || isTyping()) return;
  const last = Number(sessionStorage.getItem("reloaded") || 0);
  if (Date.now() - last < 5000) return;
  sessionStorage.setItem("reloaded", String(Date.now()));
  location.reload();
}

function apply(message) {
  setNow(message.now_us);
  message.put.forEach(put);
  document.getElementById("quarantine-section").hidden = document.getElementById("quarantine").hidden;
  const standing = new Set(message.standing);
  for (const alarm of [...document.getElementById("alarms").children]) {
    if (!standing.has(alarm.id)) alarm.remove();
  }
  tick();
  reloadIfOther(message.structure);
  document.dispatchEvent(new CustomEvent("points", { detail: message.points }));
}

// --- time -------------------------------------------------------------------------------------

function tick() {
  const at = now();
  for (const age of document.querySelectorAll("time.age")) {
    const text = ageWords(at - Number(age.dataset.atUs) / 1e6);
    if (age.textContent !== text) age.textContent = text;
  }
  for (const row of document.querySelectorAll("tr.point")) {
    const { atUs, silenceS } = row.dataset;
    if (atUs && silenceS && at - Number(atUs) / 1e6 > Number(silenceS)) row.classList.add("is-stale");
  }
  for (const card of document.querySelectorAll(".gateway")) {
    const { heardUs, silentAfterS, liveness } = card.dataset;
    const silentFor = heardUs ? at - Number(heardUs) / 1e6 : null;
    const isSilent = liveness === "silent" || (silentFor !== null && silentAfterS && silentFor > Number(silentAfterS));
    card.classList.toggle("live-silent", Boolean(isSilent));
    const text = isSilent && silentFor !== null ? ageWords(silentFor) : "";
    const place = card.querySelector(".quiet-for");
    if (place.textContent !== text) place.textContent = text;
  }
  document.getElementById("now").textContent = timeWords(at);
}

// --- stream -----------------------------------------------------------------------------------

let source = null;
let heardMs = performance.now();

function setConnected(isConnected) {
  const stream = document.getElementById("stream");
  const wasConnected = stream.dataset.state === "on";
  stream.dataset.state = isConnected ? "on" : "off";
  document.getElementById("broken").hidden = isConnected;
  body.classList.toggle("is-broken", !isConnected);
  if (isConnected && !wasConnected) document.dispatchEvent(new Event("reconnected"));
}

function connect() {
  if (source) source.close();
  heardMs = performance.now();
  source = new EventSource(`/events?lang=${language}`);
  source.onmessage = (event) => {
    heardMs = performance.now();
    setConnected(true);
    apply(JSON.parse(event.data));
  };
  source.onerror = (event) => {
    setConnected(false);
    // A browser gives up after an answer that is no stream; we do not.
    if (event.target.readyState === EventSource.CLOSED && event.target === source) setTimeout(connect, RETRY_MS);
  };
}

function watch() {
  tick();
  if (performance.now() - heardMs > SILENT_MS) {
    setConnected(false);
    connect();
  }
}

// --- acknowledging ----------------------------------------------------------------------------

async function acknowledge(form) {
  const button = form.querySelector("button");
  const error = form.querySelector(".form-error");
  const id = form.closest(".alarm").id;
  button.disabled = true;
  error.hidden = true;
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { Accept: "text/x-row" },
      body: new URLSearchParams(new FormData(form)),
    });
    if (!answer.ok) throw new Error(String(answer.status));
    put({ id, into: "alarms", html: await answer.text() });
    tick();
  } catch {
    error.textContent = words.failed;
    error.hidden = false;
  } finally {
    button.disabled = false;
  }
}

async function showDay(link) {
  try {
    const answer = await fetch(link.href);
    if (!answer.ok) throw new Error(String(answer.status));
    link.parentElement.replaceWith(parse(await answer.text()));
  } catch {
    link.textContent = words.no_day;
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.day");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  showDay(link);
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form.acknowledge")) return;
  event.preventDefault();
  acknowledge(event.target);
});

tick();
connect();
setInterval(watch, 1000);
