// Draws skeletons on a canvas, in the colours of hrkit's drawings.

const INK = "rgba(24, 24, 24, 0.85)";
const FULL = 0.6; // lowest score of a joint drawn opaque

let palette = { left: "#28a0ff", right: "#ff8214", middle: "#e1e1e1", unknown: "#969696", people: ["#3ca5ff"] };

export function setPalette(colors) {
  palette = colors;
}

export function personColor(person, row) {
  if (person.id < 0) return palette.unknown; // not followed long enough for an id
  return palette.people[(person.id ?? row) % palette.people.length];
}

/** Draws people; their joints are in pixels of a picture that the canvas shows `scale` times as large. */
export function drawPeople(context, people, skeleton, scale, look) {
  people.forEach((person, row) => {
    drawPerson(context, person, personColor(person, row), skeleton, scale, look);
  });
  context.globalAlpha = 1;
}

function drawPerson(context, person, color, skeleton, scale, look) {
  const joints = skeleton.keypoint_names.map((name) => person.keypoints[name]);
  const [left, top, right, bottom] = person.box.map((side) => side * scale);
  const size = Math.sqrt(Math.max(1, (right - left) * (bottom - top)));
  const small = Math.min(context.canvas.width, context.canvas.height);
  const width = Math.min(Math.max(size / 45, small / 280, 1.5), small / 80);
  const tint = (side) => (look.colors === "person" ? color : [palette.right, palette.middle, palette.left][side + 1]);
  context.lineCap = "round";
  if (look.boxes) drawBox(context, person, color, left, top, right - left, bottom - top, small);

  const strokes = [];
  for (const [from, to] of skeleton.edges) {
    const score = Math.min(joints[from][2], joints[to][2]);
    const side = Math.sign(skeleton.sides[from] + skeleton.sides[to]);
    if (score >= look.joints) strokes.push({ a: joints[from], b: joints[to], score, width, color: tint(side) });
  }
  joints.forEach((joint, index) => {
    if (joint[2] < look.joints) return;
    strokes.push({ a: joint, b: joint, score: joint[2], width: width * 1.7, color: tint(skeleton.sides[index]) });
  });
  for (const outline of [true, false]) {
    for (const stroke of strokes) {
      context.globalAlpha = Math.min(1, 0.25 + (0.75 * stroke.score) / FULL);
      context.strokeStyle = outline ? INK : stroke.color;
      context.lineWidth = stroke.width + (outline ? Math.max(1.5, width * 0.6) : 0);
      context.beginPath();
      context.moveTo(stroke.a[0] * scale, stroke.a[1] * scale);
      context.lineTo(stroke.b[0] * scale + 0.01, stroke.b[1] * scale);
      context.stroke();
    }
  }
}

function drawBox(context, person, color, x, y, width, height, small) {
  const line = Math.max(1.5, small / 350);
  context.globalAlpha = 1;
  context.lineWidth = line;
  context.strokeStyle = color;
  context.strokeRect(x, y, width, height);
  const text = person.id === null || person.id < 0 ? percent(person.box_score) : `${person.id}  ${percent(person.box_score)}`;
  const size = Math.max(11, small / 38);
  context.font = `600 ${size}px system-ui, sans-serif`;
  const tall = size * 1.35;
  const above = y >= tall ? y - tall : y;
  context.fillStyle = color;
  context.fillRect(x - line / 2, above, context.measureText(text).width + size * 0.7, tall);
  context.fillStyle = "#181818";
  context.fillText(text, x + size * 0.3, above + size);
}

export function percent(score) {
  return `${Math.round(100 * score)}%`;
}
