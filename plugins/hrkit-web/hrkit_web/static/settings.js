// The settings: networks, thresholds and how people are drawn.

const form = document.getElementById("settings");
const DRAWN = ["joints", "colors", "boxes"]; // settings that change the drawing only

/** How people are drawn. */
export function look() {
  const data = new FormData(form);
  return { joints: Number(data.get("joints")), colors: data.get("colors"), boxes: data.has("boxes") };
}

/** The parameters of a request. */
export function asked({ moving }) {
  const data = new FormData(form);
  const names = ["backbone", "detector", "threshold", ...(moving ? ["detect_every"] : [])];
  return new URLSearchParams(names.filter((name) => data.get(name)).map((name) => [name, data.get(name)]));
}

/** Fills in the networks. Calls `onDrawing` or `onAsking` when a setting changes. */
export function begin(models, { onDrawing, onAsking }) {
  for (const [id, kind] of [["backbone", "backbones"], ["detector", "detectors"]]) {
    const options = models[kind].map((model) => new Option(label(model), model.name));
    if (id === "detector") options.push(new Option("none: one person fills the picture", "none"));
    const chosen = models.default[id];
    if (!options.some((option) => option.value === chosen)) options.unshift(new Option(chosen, chosen));
    form.elements[id].replaceChildren(...options);
    form.elements[id].value = chosen;
  }
  const outputs = () => {
    for (const output of form.querySelectorAll("output")) {
      const value = form.elements[output.htmlFor.value].value;
      output.value = output.htmlFor.value === "detect_every" ? value : Number(value).toFixed(2);
    }
  };
  outputs();
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    outputs();
    if (DRAWN.includes(event.target.name)) onDrawing();
  });
  form.addEventListener("change", (event) => {
    if (!DRAWN.includes(event.target.name)) onAsking();
  });
}

function label(model) {
  if (model.at_hand) return model.name;
  return `${model.name} (download${model.megabytes ? `, ${model.megabytes} MB` : ""})`;
}
