// A photo: sends it and draws the people of the answer.

import { form, request } from "./api.js";
import { offer } from "./downloads.js";
import { keep } from "./kept.js";
import { asked } from "./settings.js";
import { figures, progress, show, snapshot } from "./stage.js";

/** Shows a photo and its people. Throws an Error with the reason of a failure. */
export async function openPhoto(file, signal) {
  progress("Looking for people", null);
  const stem = file.name.replace(/\.[^.]*$/, "") || "photo";
  const parameters = asked({ moving: false });
  const post = (format) => request(`/v1/poses?${parameters}&format=${format}`, {
    method: "POST", body: form("image", file), signal,
  });
  const began = performance.now();
  const [answer, picture] = await Promise.all([
    post("json").then((response) => response.json()),
    createImageBitmap(file).catch(() => { throw new Error("This browser cannot show the picture."); }),
  ]);
  if (signal.aborted) return;
  show(picture, picture.width, picture.height, answer.people, answer.skeleton, picture.width / answer.width);
  const delay = performance.now() - began;
  figures({ delay });
  keep(file.name, `${parameters.get("backbone")} with ${parameters.get("detector")}`, answer.people.length, delay);
  offer([
    { label: "CSV", name: `${stem}_poses.csv`, blob: async () => (await post("csv")).blob() },
    { label: "JSON", name: `${stem}_poses.json`, blob: async () => new Blob([JSON.stringify(answer, null, 1)]) },
    { label: "Picture", name: `${stem}_poses.jpg`, blob: snapshot },
  ]);
}
