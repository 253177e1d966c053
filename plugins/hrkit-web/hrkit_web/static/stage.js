// The canvas, the numbers and the list of people.

import { drawPeople, percent, personColor } from "./draw.js";
import { look } from "./settings.js";

const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const context = canvas.getContext("2d");
const ROW_REM = 1.65; // of the list of people, as in style.css; so is the next
const MOST_REM = 12.5;
const CALM_MS = 250; // numbers that change faster are unreadable
const ANNOUNCE_MS = 2500; // a screen reader cannot keep up with more

let shown = null;
let announced = { text: "", time: -Infinity, timer: null };
const told = { time: -Infinity, timer: null };
let rows = 0; // of the list, which never shrinks while a file or the camera is open

/** Shows a picture (image, video or bitmap) and its people, whose joints are multiplied by `scale`. */
export function show(picture, width, height, people, skeleton, scale = 1) {
  shown?.picture.close?.();
  shown = { picture, width, height, people, skeleton, scale };
  canvas.hidden = false;
  element("empty").hidden = true;
  redraw();
  clearTimeout(told.timer);
  const wait = told.time + CALM_MS - performance.now();
  if (wait <= 0) tell(people);
  else told.timer = setTimeout(tell, wait, people);
}

function tell(people) {
  told.time = performance.now();
  list(people);
}

export function redraw() {
  if (!shown) return;
  const { picture, width, height, people, skeleton, scale } = shown;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.drawImage(picture, 0, 0, width, height);
  if (people) drawPeople(context, people, skeleton, scale, look());
}

export function clear() {
  shown?.picture.close?.();
  shown = null;
  canvas.hidden = true;
  element("empty").hidden = false;
  rows = 0;
  clearTimeout(told.timer);
  list(null);
  figures({});
}

/** The picture with its people, as a JPEG. */
export function snapshot() {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
}

/** Shows frames per second, and milliseconds from a frame to its people. */
export function figures({ fps = null, delay = null }) {
  element("fps").textContent = fps === null ? "–" : fps.toFixed(1);
  element("delay").replaceChildren(delay === null ? "–" : String(Math.round(delay)), delay === null ? "" : small(" ms"));
}

export function alert(text) {
  element("alert").textContent = text ?? "";
  element("alert").hidden = !text;
}

export function progress(label, share) {
  element("working").hidden = label === null;
  element("progress-label").textContent = label ?? "";
  if (share === null || share === undefined) element("progress").removeAttribute("value");
  else element("progress").value = share;
}

function list(people) {
  element("count").textContent = people ? String(people.length) : "–";
  const items = (people ?? []).map((person, row) => {
    const chip = Object.assign(document.createElement("span"), { className: "chip" });
    chip.style.backgroundColor = personColor(person, row);
    const meter = Object.assign(document.createElement("meter"), { value: person.box_score });
    meter.setAttribute("aria-label", "Confidence");
    const score = Object.assign(document.createElement("span"), { className: "score", textContent: percent(person.box_score) });
    const name = document.createElement("span");
    name.textContent = person.id === null ? `no. ${row + 1}` : person.id < 0 ? "new" : `id ${person.id}`;
    const item = document.createElement("li");
    item.append(chip, name, meter, score);
    return [person.id < 0 ? Infinity : (person.id ?? row), item];
  });
  items.sort(([one], [other]) => one - other || 0); // by id, so that rows keep their places
  rows = Math.max(rows, items.length);
  element("people").replaceChildren(...items.map(([, item]) => item));
  element("people").style.minHeight = `${Math.min(rows * ROW_REM, MOST_REM)}rem`;
  if (items.length * ROW_REM > MOST_REM) element("people").tabIndex = 0; // it scrolls, also by keyboard
  else element("people").removeAttribute("tabindex");
  if (people) announce(people.length);
}

function announce(count) {
  const text = count === 1 ? "1 person" : `${count} people`;
  canvas.setAttribute("aria-label", `The picture, with ${text} drawn`);
  clearTimeout(announced.timer);
  if (text === announced.text) return;
  const wait = announced.time + ANNOUNCE_MS - performance.now();
  if (wait > 0) {
    announced.timer = setTimeout(announce, wait, count);
  } else {
    announced = { text, time: performance.now(), timer: null };
    element("announcer").textContent = text;
  }
}

function small(text) {
  return Object.assign(document.createElement("small"), { textContent: text });
}
