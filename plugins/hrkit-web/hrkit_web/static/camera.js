// The camera. Each frame is shown once its people are known.

import { sentence } from "./api.js";
import { offerResults } from "./downloads.js";
import { connect } from "./live.js";
import { asked } from "./settings.js";
import { alert, clear, figures, progress, show } from "./stage.js";

const RATE_FRAMES = 20; // frames over which frames per second are averaged

/**
 * Opens the camera. The result can stop it, restart it with new settings, or record; it is null if `signal` was aborted
 * before the camera opened. Throws an Error with the reason of a failure.
 */
export async function openCamera({ signal, onEnd, onRecorded }) {
  const stream = await openStream();
  const release = () => stream.getTracks().forEach((track) => track.stop());
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, srcObject: stream });
  try {
    await video.play();
  } catch (error) {
    release();
    throw error;
  }
  if (signal.aborted) { // another file was opened in the meantime
    release();
    return null;
  }
  let connection = null;
  let over = false;

  function begin() {
    connection?.close();
    const times = [];
    progress("Loading the networks", null);
    connection = connect(video, asked({ moving: true }), {
      hello: () => progress(null),
      frame({ picture, width, height, scale, began }, people, skeleton) {
        const now = performance.now();
        times.push(now);
        if (times.length > RATE_FRAMES) times.shift();
        const fps = times.length > 1 ? (1000 * (times.length - 1)) / (now - times[0]) : null;
        show(picture, width, height, people, skeleton, scale);
        figures({ fps, delay: now - began });
      },
      recorded(results) {
        if (results) offerResults(results, "camera");
        onRecorded();
      },
      end(reason) {
        stop();
        alert(reason ? sentence(reason) : "The server closed the connection.");
      },
    });
  }

  function stop() {
    if (over) return;
    over = true;
    connection.close();
    release();
    progress(null);
    clear();
    onEnd();
  }

  stream.getVideoTracks()[0].addEventListener("ended", stop);
  begin();
  return { again: begin, stop, record: (on) => connection.record(on) };
}

async function openStream() {
  if (!navigator.mediaDevices) throw new Error("Browsers allow the camera only on this machine or over HTTPS.");
  try {
    return await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 960 }, height: { ideal: 720 } } });
  } catch (error) {
    throw new Error(error.name === "NotAllowedError" ? "The camera was not allowed." : "There is no camera to open.");
  }
}
