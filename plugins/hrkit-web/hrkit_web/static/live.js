// A connection to /v1/live: sends the frames of a video element and receives their people.

import { liveSocket } from "./api.js";

const LONG_SIDE = 640; // px, of the frames sent
const QUALITY = 0.8;
const UNDER_WAY = 2; // one frame in progress, one that waits
const PATIENCE_MS = 200; // for the next frame; hidden pages get none, but a silent connection would be closed

/**
 * Starts to send frames. Calls `hello()` first, `frame(frame, people, skeleton)` per answer, where `frame` is
 * `{picture, width, height, scale, began}`, `recorded(results)`, and `end(reason)` if the server closes the connection.
 */
export function connect(video, parameters, { hello, frame, recorded, end }) {
  const socket = liveSocket(parameters);
  const small = document.createElement("canvas");
  const waiting = new Map(); // frames sent, by number
  let skeleton = null;
  let sent = 0;
  let sending = false;
  let reason = null;
  let closed = false;

  async function send() {
    if (sending || closed || waiting.size >= UNDER_WAY) return;
    sending = true;
    await nextFrame(video);
    if (closed) return;
    const { videoWidth: width, videoHeight: height } = video;
    const shrink = Math.min(1, LONG_SIDE / Math.max(width, height));
    const began = performance.now();
    const picture = await createImageBitmap(video);
    Object.assign(small, { width: Math.round(width * shrink), height: Math.round(height * shrink) });
    small.getContext("2d").drawImage(picture, 0, 0, small.width, small.height);
    const blob = await new Promise((resolve) => small.toBlob(resolve, "image/jpeg", QUALITY));
    sending = false;
    if (closed || socket.readyState !== WebSocket.OPEN) {
      picture.close();
      return;
    }
    socket.send(blob);
    waiting.set(sent, { picture, width, height, scale: 1 / shrink, began });
    sent += 1; // numbered as by the server
    send();
  }

  function take({ frame: number, people }) {
    for (const key of [...waiting.keys()].filter((key) => key < number)) forget(key); // dropped in favour of a newer one
    const answered = waiting.get(number);
    waiting.delete(number);
    send();
    frame(answered, people, skeleton);
  }

  function forget(key) {
    waiting.get(key).picture.close();
    waiting.delete(key);
  }

  socket.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (closed) return;
    if (event.type === "hello") {
      skeleton = event.skeleton;
      hello();
      send();
    } else if (event.type === "frame") {
      take(event);
    } else if (event.type === "recorded") {
      recorded(event.results);
    } else {
      reason = event.detail;
    }
  };
  socket.onclose = () => {
    if (!closed) end(reason);
  };

  return {
    record(on) {
      socket.send(JSON.stringify({ record: on }));
    },
    close() {
      closed = true;
      socket.close();
      [...waiting.keys()].forEach(forget);
    },
  };
}

function nextFrame(video) {
  return new Promise((resolve) => {
    video.requestVideoFrameCallback?.(resolve);
    setTimeout(resolve, video.requestVideoFrameCallback ? PATIENCE_MS : PATIENCE_MS / 5);
  });
}
