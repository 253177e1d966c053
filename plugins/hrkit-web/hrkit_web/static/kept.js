// Results of photos, side by side: kept in the page until it is closed, to compare networks.

import { snapshot } from "./stage.js";

const MOST = 12; // pictures that stay; the oldest go
const element = (id) => document.getElementById(id);

/** Keeps the picture on the canvas with its people, and says what found them. */
export async function keep(name, networks, count, milliseconds) {
  const picture = await snapshot();
  if (!picture) return;
  const people = count === 1 ? "1 person" : `${count} people`;
  const image = Object.assign(document.createElement("img"), {
    src: URL.createObjectURL(picture), alt: `${name} with ${people} drawn, found by ${networks}`,
  });
  const caption = document.createElement("figcaption");
  caption.append(
    Object.assign(document.createElement("strong"), { textContent: networks }),
    ` ${people} in ${Math.round(milliseconds)} ms, ${name}`,
  );
  const figure = document.createElement("figure");
  figure.append(image, caption);
  element("kept").prepend(figure);
  while (element("kept").children.length > MOST) drop(element("kept").lastElementChild);
  element("kept-section").hidden = false;
}

function drop(figure) {
  URL.revokeObjectURL(figure.querySelector("img").src);
  figure.remove();
}

element("forget").addEventListener("click", () => {
  [...element("kept").children].forEach(drop);
  element("kept-section").hidden = true;
  element("choose").focus(); // the button that had the focus is hidden
});
