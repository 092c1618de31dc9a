"use strict";

const PAUSE_MS = 1000;
const MOST_ROWS = 300;
const KINDS = {
  IMAGE_SWAP: "picture",
  VIDEO_SWAP: "video",
  FACE_DETECTION: "faces of a file",
  MULTI_IMAGE_SWAP: "several faces of a picture",
  MULTI_VIDEO_SWAP: "several faces of a video",
};
const PROGRESS = { waiting: "waiting", processing: "running", finished: "done", failed: "failed" };

const cards = new Map(); // by the task's number: {item, task, text}
let last = 0;
let shown = null; // the number of the task in the viewer

const by = (id) => document.getElementById(id);

/** Make an element. Whatever comes from elsewhere gets in as text and attributes, never as markup. */
function make(tag, className = "", text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const url = (task, what, index = 0) => `/page/media/${task.id}/${what}/${index}`;

function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 90) return `${Math.round(value)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

function bytes(value) {
  if (value < 1000) return `${value} B`;
  return value < 1e6 ? `${(value / 1e3).toFixed(0)} kB` : `${(value / 1e6).toFixed(1)} MB`;
}

/** A picture that makes room for a word where it cannot be shown. */
function picture(source, alt, className = "") {
  const image = make("img", className, "", { src: source, alt, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.remove());
  return image;
}

function clip(source, label, controls) {
  const options = { src: source, playsinline: "", "aria-label": label };
  const more = controls ? { preload: "auto", controls: "", loop: "" } : { preload: "metadata", tabindex: "-1" };
  const video = make("video", "", "", { ...options, ...more });
  video.muted = true;
  return video;
}

// Tasks

const name = (task) => task.media.name || "a file";
const faces = (task) => (task.faces.length ? `with ${task.faces.map((face) => face || "a face").join(", ")}` : "");

function beforeSide(task) {
  const side = make("span", "side before", task.media.type || "gone");
  if (task.media.video) {
    side.append(clip(`${url(task, "before")}#t=0.1`, "", false), make("span", "badge", "video"));
  } else if (task.media.type) {
    side.append(picture(url(task, "before"), ""));
  }
  return side;
}

function afterSide(task) {
  const side = make("span", "side after");
  const result = task.result;
  if (task.progress === "failed") {
    side.append(make("span", "code", String(task.code)));
  } else if (!result) {
    side.textContent = task.progress === "waiting" ? "waiting" : "";
  } else if (result.found !== null) {
    side.textContent = result.found ? "" : "no face";
    const grid = make("span", "grid");
    for (let index = 0; index < Math.min(result.found, 4); index++) grid.append(picture(url(task, "after", index), ""));
    side.append(grid, make("span", "badge", `${result.found} found`));
  } else {
    side.textContent = result.type || "gone";
    if (result.type) side.append(picture(url(task, "small"), ""));
  }
  return side;
}

function fill(item, task) {
  const card = make("button", "card", "", { type: "button" });
  card.dataset.progress = task.progress;
  card.setAttribute("aria-label", `${name(task)} ${faces(task)}, ${KINDS[task.kind]}: ${PROGRESS[task.progress]}`);
  const pair = make("span", "pair");
  pair.append(beforeSide(task), afterSide(task));
  if (task.faces.length) pair.append(picture(url(task, "face"), "", "face"));
  const foot = make("span", "foot");
  foot.append(make("span", "chip", PROGRESS[task.progress]), make("span", "time"), make("span", "id", String(task.id)));
  const kind = KINDS[task.kind] + (task.hd ? ", HD" : "");
  card.append(pair, make("span", "name", name(task)), make("span", "with", faces(task) || kind), foot);
  if (task.faces.length) card.querySelector(".with").textContent += ` · ${kind}`;
  if (task.message) card.append(make("span", "message", task.message));
  card.addEventListener("click", () => view(task.id));
  const focused = item.contains(document.activeElement);
  item.replaceChildren(card);
  if (focused) card.focus();
}

function showTasks(tasks, now) {
  const list = by("task-list");
  const present = new Set(tasks.map((task) => task.id));
  for (const [id, { item }] of cards) {
    if (!present.has(id)) {
      item.remove();
      cards.delete(id);
    }
  }
  let next = list.firstChild;
  for (const task of tasks) {
    const text = JSON.stringify(task);
    let card = cards.get(task.id);
    if (!card) {
      card = { item: make("li") };
      cards.set(task.id, card);
      list.insertBefore(card.item, next);
    }
    if (card.text !== text) {
      fill(card.item, task);
      Object.assign(card, { task, text });
      if (shown === task.id) view(task.id);
    }
    card.item.querySelector(".time").textContent = seconds(Math.max((task.ended ?? now) - task.created, 0));
    next = card.item.nextSibling;
  }
  by("no-tasks").hidden = tasks.length > 0;
}

// The viewer

function figure(media, caption) {
  const element = make("figure");
  element.append(media, make("figcaption", "", caption));
  return element;
}

function view(id) {
  const card = cards.get(id);
  if (!card) return;
  const { task } = card;
  shown = id;
  const show = (file, what, caption) =>
    figure(file.video ? clip(url(task, what), caption, true) : picture(url(task, what), caption), caption);
  by("viewer-title").textContent = name(task);
  const notes = [KINDS[task.kind], PROGRESS[task.progress], `task ${task.id}`];
  if (task.progress === "failed") notes.push(`code ${task.code}: ${task.message}`);
  by("viewer-note").textContent = notes.join(" · ");
  const figures = [];
  if (task.media.type) figures.push(show(task.media, "before", `before · ${task.media.type}, ${bytes(task.media.size)}`));
  const small = [];
  if (task.result?.type) figures.push(show(task.result, "after", `after · ${task.result.type}, ${bytes(task.result.size)}`));
  task.faces.forEach((face, index) => small.push(figure(picture(url(task, "face", index), face), face || "a face")));
  for (let index = 0; index < (task.result?.found ?? 0); index++) {
    small.push(figure(picture(url(task, "after", index), `face ${index}`), `found: ${index}`));
  }
  by("viewer-figures").replaceChildren(...figures);
  by("viewer-small").replaceChildren(...small);
  by("later").disabled = !neighbour(-1);
  by("earlier").disabled = !neighbour(1);
  if (!by("viewer").open) by("viewer").showModal();
}

function neighbour(step) {
  const ids = [...by("task-list").children].map((item) => [...cards].find(([, card]) => card.item === item)[0]);
  return ids[ids.indexOf(shown) + step];
}

function go(step) {
  const id = neighbour(step);
  if (id !== undefined) view(id);
}

// Requests

const path = (target) => target.split("?")[0];
const isTrouble = (request) => request.status === 0 || request.status >= 400 || !["", "200"].includes(request.code) || request.fault;
const sort = (request) => [request.method, path(request.target), request.status, request.code, request.fault].join(" ");

function shorten(request, times) {
  if (!request.target.startsWith("/storage/")) return times > 1 ? path(request.target) : request.target;
  return request.file ? `/storage/… ${request.file}` : `/storage/…${request.target.slice(-20)}`;
}

function answer(request) {
  if (request.status === 0) return "cut";
  return ["", "200", String(request.status)].includes(request.code) ? `${request.status}` : `${request.status} ${request.code}`;
}

function clock(at) {
  return new Date(at * 1000).toTimeString().slice(0, 8);
}

function addRequest(request) {
  const list = by("request-list");
  const latest = list.firstElementChild;
  const times = latest && latest.dataset.sort === sort(request) ? Number(latest.dataset.times) + 1 : 1;
  if (times > 1) latest.remove(); // the same again: one row for all of them
  const row = make("li", isTrouble(request) ? "request trouble" : "request");
  row.dataset.sort = sort(request);
  row.dataset.times = times;
  const target = make("span", "target", "", { title: request.target });
  target.append(make("span", "", shorten(request, times)));
  if (times > 1) target.append(make("span", "times", `×${times}`));
  row.append(
    make("time", "", clock(request.at)),
    make("span", "method", request.method),
    target,
    make("span", "answer", answer(request)),
    make("span", "took", `${request.ms < 10 ? request.ms.toFixed(1) : Math.round(request.ms)} ms`),
  );
  if (request.fault) row.append(make("span", "fault", `played: ${request.fault.toLowerCase().replaceAll("_", " ")}`));
  list.prepend(row);
  while (list.childElementCount > MOST_ROWS) list.lastElementChild.remove();
}

// What the service says

function tell(state, text) {
  const element = by("state");
  if (element.textContent !== text) element.textContent = text;
  element.dataset.state = state;
}

function showService(news) {
  for (const [progress, number] of Object.entries(news.counts)) {
    by(progress).textContent = number;
    by(progress).classList.toggle("some", number > 0);
  }
  by("credits").textContent = news.credits ?? "any";
  by("rate").textContent = news.requests_per_second ?? "any";
  const all = Object.values(news.counts).reduce((sum, number) => sum + number, 0);
  by("tasks-note").textContent = all > news.tasks.length ? `the latest ${news.tasks.length} of ${all}` : "";
}

async function ask() {
  const response = await fetch(`/page/feed?after=${last}`, { credentials: "same-origin" });
  if (response.status === 403) {
    tell("gone", "closed: open the link that the service gave");
    return;
  }
  const news = await response.json();
  if (news.last < last) by("request-list").replaceChildren(); // it was started anew
  last = news.last;
  showService(news);
  showTasks(news.tasks, news.now);
  news.requests.forEach(addRequest);
  by("no-requests").hidden = last > 0;
  tell("live", "live");
}

async function follow() {
  for (;;) {
    try {
      if (!document.hidden) await ask();
    } catch {
      tell("gone", "not reachable; trying again");
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

by("base-url").textContent = location.origin;
by("only-trouble").addEventListener("change", (event) => by("request-list").classList.toggle("only-trouble", event.target.checked));
by("close").addEventListener("click", () => by("viewer").close());
by("later").addEventListener("click", () => go(-1));
by("earlier").addEventListener("click", () => go(1));
by("viewer").addEventListener("close", () => {
  by("viewer-figures").replaceChildren(); // clips stop
  cards.get(shown)?.item.firstElementChild.focus();
  shown = null;
});
by("viewer").addEventListener("keydown", (event) => {
  if (event.target.tagName === "VIDEO") return;
  if (event.key === "ArrowLeft") go(-1);
  if (event.key === "ArrowRight") go(1);
});
follow();
