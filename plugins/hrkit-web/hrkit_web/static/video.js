// A video. The server sends people frame by frame, while this tab plays the file and draws the people received so far.

import { form, lines, request, sentence } from "./api.js";
import { offerResults } from "./downloads.js";
import { asked } from "./settings.js";
import { alert, figures, progress, show } from "./stage.js";

const AHEAD = 1; // seconds of people to receive before playing on
const element = (id) => document.getElementById(id);

/** Plays a video and its people until `signal` is aborted. Throws an Error with the reason of a failure. */
export async function openVideo(file, signal) {
  const stem = file.name.replace(/\.[^.]*$/, "") || "video";
  const player = new Player(file);
  signal.addEventListener("abort", () => player.close());
  progress("Sending the video", null);
  const parameters = asked({ moving: true });
  parameters.set("annotate", "true");
  const response = await request(`/v1/videos?${parameters}`, { method: "POST", body: form("video", file), signal });
  const began = performance.now();
  for await (const event of lines(response)) {
    if (signal.aborted) return;
    if (event.type === "info") {
      player.begin(event);
      progress("Looking for people", event.frames ? 0 : null);
    } else if (event.type === "frame") {
      player.add(event);
      const count = player.frames.length;
      progress("Looking for people", player.info.frames ? count / player.info.frames : null);
      figures({ fps: (1000 * count) / (performance.now() - began) });
    } else if (event.type === "error") {
      alert(sentence(event.detail));
    } else {
      offerResults(event.results, stem);
    }
  }
  progress(null);
  player.finish();
}

class Player {
  frames = []; // {time, people}
  info = null;
  #video = document.createElement("video");
  #address;
  #wanted = !matchMedia("(prefers-reduced-motion: reduce)").matches; // whether the user wants it to play
  #done = false;
  #closed = false;
  #shown = -1;

  constructor(file) {
    this.#address = URL.createObjectURL(file);
    Object.assign(this.#video, { src: this.#address, muted: true, playsInline: true, preload: "auto" });
    this.#video.addEventListener("error", () => {
      if (!this.#closed) alert("This browser cannot play the video. You can download it with people drawn below.");
    });
    this.#video.addEventListener("ended", () => { this.#wanted = false; this.#controls(); });
    this.#video.addEventListener("seeked", () => this.#draw());
    element("play").onclick = () => this.#toggle();
    element("seek").oninput = (event) => this.#seek(Number(event.target.value));
  }

  begin(info) {
    this.info = info;
    element("transport").hidden = false;
    this.#controls();
    this.#tick();
  }

  add({ time, people }) {
    this.frames.push({ time, people });
    if (this.#shown < 0) this.#draw();
    this.#goOn();
  }

  finish() {
    this.#done = true;
    this.#goOn();
  }

  close() {
    this.#closed = true;
    this.#video.pause();
    this.#video.removeAttribute("src");
    URL.revokeObjectURL(this.#address);
    element("transport").hidden = true;
  }

  get #known() {
    return this.#done ? Infinity : (this.frames.at(-1)?.time ?? -1);
  }

  #goOn() {
    const enough = this.#known - this.#video.currentTime >= AHEAD;
    if (this.#wanted && this.#video.paused && enough && !this.#closed) this.#video.play().catch(() => {});
  }

  #toggle() {
    this.#wanted = !this.#wanted;
    if (!this.#wanted) this.#video.pause();
    else if (this.#video.ended) this.#video.currentTime = 0;
    this.#goOn();
    this.#controls();
  }

  #seek(time) {
    this.#video.currentTime = Math.min(time, this.frames.at(-1)?.time ?? 0);
  }

  #tick() {
    if (this.#closed) return;
    this.#draw();
    if (this.#video.currentTime >= this.#known) this.#video.pause(); // until more people are received
    requestAnimationFrame(() => this.#tick());
  }

  #draw() {
    const row = this.#rowAt(this.#video.currentTime);
    if (row === this.#shown || row < 0 || this.#video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    this.#shown = row;
    const { width, height, skeleton } = this.info;
    show(this.#video, width, height, this.frames[row].people, skeleton);
    this.#controls();
  }

  /** The last frame that starts at or before `time`. */
  #rowAt(time) {
    let low = 0;
    let high = this.frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.frames[middle].time <= time + 0.001) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #controls() {
    const whole = Number.isFinite(this.#video.duration) ? this.#video.duration : (this.frames.at(-1)?.time ?? 0);
    element("play").textContent = this.#wanted ? "Pause" : "Play";
    element("seek").max = whole.toFixed(2);
    element("seek").value = this.#video.currentTime;
    element("seek").setAttribute("aria-valuetext", `${clock(this.#video.currentTime)} of ${clock(whole)}`);
    element("clock").textContent = `${clock(this.#video.currentTime)} / ${clock(whole)}`;
  }
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}
