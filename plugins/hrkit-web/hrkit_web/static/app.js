// Connects the parts of the page. One photo, one video or the camera is open at a time.

import { request } from "./api.js";
import { openCamera } from "./camera.js";
import { withdraw } from "./downloads.js";
import { setPalette } from "./draw.js";
import { openPhoto } from "./photo.js";
import * as settings from "./settings.js";
import { alert, clear, figures, progress, redraw } from "./stage.js";
import { openVideo } from "./video.js";

const element = (id) => document.getElementById(id);

let file = null; // the open file
let aborter = new AbortController(); // for requests about the open file or camera
let camera = null;
let opening = false;
let afterRecording = null; // called when the recording ends

async function openFile(chosen) {
  closeAll();
  file = chosen;
  aborter = new AbortController();
  const { signal } = aborter;
  try {
    await (chosen.type.startsWith("image/") ? openPhoto : openVideo)(chosen, signal);
    if (!signal.aborted) progress(null);
  } catch (error) {
    if (!signal.aborted) {
      closeAll();
      clear();
      alert(error.message);
    }
  }
}

function closeAll() {
  aborter.abort();
  camera?.stop();
  file = null;
  withdraw();
  alert(null);
  progress(null);
  figures({});
}

async function startCamera() {
  if (opening || camera) return;
  opening = true;
  closeAll();
  clear();
  aborter = new AbortController();
  const { signal } = aborter;
  try {
    camera = await openCamera({
      signal,
      onEnd() { camera = null; cameraButtons(); },
      onRecorded() {
        showRecording(false);
        afterRecording?.();
        afterRecording = null;
      },
    });
    if (camera) cameraButtons();
  } catch (error) {
    if (!signal.aborted) alert(error.message);
  }
  opening = false;
}

const recording = () => element("record").getAttribute("aria-pressed") === "true";
const showRecording = (on) => element("record").setAttribute("aria-pressed", String(on));

/** Calls `action`, after stopping a recording in progress. */
function afterRecorded(action) {
  if (!recording()) {
    action();
  } else {
    afterRecording = action;
    camera.record(false);
  }
}

function cameraButtons() {
  const open = camera !== null;
  const [here, there] = open ? ["record", "camera"] : ["camera", "record"];
  const focused = [there, "stop"].includes(document.activeElement.id);
  element("record").hidden = element("stop").hidden = !open;
  element("camera").hidden = open;
  if (focused) element(here).focus(); // the button that had the focus is hidden
  showRecording(false);
  afterRecording = null;
}

element("choose").addEventListener("click", () => element("file").click());
element("file").addEventListener("change", (event) => {
  const [chosen] = event.target.files;
  event.target.value = "";
  if (chosen) openFile(chosen);
});
element("camera").addEventListener("click", startCamera);
element("stop").addEventListener("click", () => afterRecorded(() => camera.stop()));
element("record").addEventListener("click", () => {
  if (recording()) {
    camera.record(false);
  } else {
    withdraw();
    showRecording(true);
    camera.record(true);
  }
});

let depth = 0;
const veil = (change) => {
  depth = Math.max(0, depth + change);
  element("veil").hidden = depth === 0;
};
addEventListener("dragenter", () => veil(1));
addEventListener("dragleave", () => veil(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  veil(0);
  const [dropped] = event.dataTransfer.files;
  if (dropped) openFile(dropped);
});

try {
  const models = await (await request("/v1/models")).json();
  setPalette(models.colors);
  settings.begin(models, {
    onDrawing: redraw,
    onAsking: () => (camera ? afterRecorded(() => camera.again()) : file && openFile(file)),
  });
} catch (error) {
  alert(error.message);
}
