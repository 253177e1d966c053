// Buttons that save files. The server sends each result once, so it is kept for a second click.

import { request } from "./api.js";
import { alert } from "./stage.js";

const section = document.getElementById("downloads");
const buttons = document.getElementById("download-buttons");
let held = null;

/** Shows a button per file; `blob` fetches its content. */
export function offer(files) {
  buttons.replaceChildren(...files.map(({ label, name, blob }) => {
    let kept = null;
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        kept ??= await blob();
        save(kept, name);
      } catch (error) {
        alert(error.message);
      }
      button.disabled = false;
      button.focus();
    });
    return button;
  }));
  section.hidden = files.length === 0;
}

/** Shows buttons for results on the server. */
export function offerResults(results, stem) {
  held = results.id;
  const labels = { csv: "CSV", json: "JSON", mp4: "Video" };
  offer(Object.entries(results.files).map(([kind, path]) => ({
    label: labels[kind],
    name: `${stem}_poses.${kind}`,
    blob: async () => (await request(path)).blob(),
  })));
}

/** Removes the buttons and deletes the results on the server. */
export function withdraw() {
  if (held) request(`/v1/results/${held}`, { method: "DELETE", keepalive: true }).catch(() => {});
  held = null;
  offer([]);
}

function save(blob, name) {
  const address = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

addEventListener("pagehide", withdraw);
