// The live part of a page: takes what the server sends, keeps what is the same, tells the time.
// No dependency. Without this file every page and form works, only not by itself.
"use strict";

const live = document.getElementById("live");
const state = document.getElementById("live-state");

// --- times: the server writes UTC, people read their own clock --------------------------------

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function elapsed(ms) {
  const s = Math.max(ms, 0) / 1000;
  if (s < 60) return `${s.toFixed(0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function tellTimes(root) {
  const today = new Date().toDateString();
  for (const node of root.querySelectorAll("time[data-at]")) {
    const at = new Date(node.dateTime);
    node.title = full.format(at);
    if (node.dataset.at === "since") write(node, `for ${elapsed(Date.now() - at)}`);
    else if (node.dataset.at === "clock" || at.toDateString() === today) write(node, clock.format(at));
    else write(node, full.format(at));
  }
}

// --- morph: make `old` look like `fresh` without touching what is the same ---------------------

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || null : null);
const same = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function morphAttributes(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) === value) continue;
    if (name === "data-status") old.classList.remove("changed");
    old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    // What the reader opened stays open; `title` is ours.
    if (!fresh.hasAttribute(name) && name !== "open" && name !== "title") old.removeAttribute(name);
  }
}

function morph(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.dataset.at && old.dateTime === fresh.dateTime && old.dataset.at === fresh.dataset.at) return;
  const moved = old.dataset.status && old.dataset.status !== fresh.dataset.status;
  morphAttributes(old, fresh);
  morphChildren(old, fresh);
  if (moved) old.querySelector(".body")?.classList.add("changed");
}

function morphChildren(old, fresh) {
  const keyed = new Map([...old.children].filter(keyOf).map((node) => [keyOf(node), node]));
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    let match = keyed.get(keyOf(wanted));
    if (!match && at && !keyOf(at) && same(at, wanted)) match = at;
    if (match && same(match, wanted)) {
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      morph(match, wanted);
    } else {
      old.insertBefore(wanted, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function show(html) {
  const parsed = new DOMParser().parseFromString(html, "text/html");
  const fresh = document.createElement("div");
  fresh.append(...parsed.body.childNodes);
  tellTimes(fresh);
  morphChildren(live, fresh);
  tellTimes(live);
}

// --- the stream --------------------------------------------------------------------------------

function say(now, word) {
  if (!state) return;
  state.dataset.state = now;
  write(state.querySelector(".word"), word);
}

function listen() {
  const source = new EventSource(live.dataset.live);
  source.addEventListener("open", () => say("on", "live"));
  source.addEventListener("page", (event) => show(event.data));
  source.addEventListener("end", () => {
    source.close();
    say("off", "ended");
  });
  source.addEventListener("error", () => {
    say("lost", "reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}

tellTimes(document);
setInterval(() => tellTimes(document), 1000);
if (live?.dataset.live) listen();
