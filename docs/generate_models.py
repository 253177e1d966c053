"""Writes docs/models.md from the registered weights and the plugins' model cards: `python docs/generate_models.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hrkit.weights.catalogue import WeightsEntry
from hrkit.weights.published import published_entries

PAGE = Path(__file__).with_name("models.md")
PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
CARD = re.compile(r"^## Model card: (.*?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")

HEAD = """# Models

Which weights there are, and what is known of them: hrkit's own entries, and the model cards of hrkit-lite, written by
`docs/generate_models.py`. hrkit-higherhrnet and hrkit-torchvision bring more: their READMEs list them, and
`hrkit models`, which has every field with `--json`.

`weights="auto"` takes the ones marked *default*: those with COCO's joints, or with `num_joints=16` those with MPII's.
`create_pose_model` asks for 256x192 unless `input_size=None`.
The figures are those of whoever published the weights: COCO val2017 with a person detector and flip test, MPII val with
the annotated boxes. Licences are of the files; whether you may use what a network learned from COCO, MPII or ImageNet
is for you to find out.
"""

POSE = """## Pose networks

Input is height x width, px; *codec* is how the heatmaps are read (see [Evaluation](evaluation.md#from-crop-to-score)).
Of several for one network, `udp` and `dark` are the better ones.
"""

INTENDED = """They are meant for finding the joints of people in photos and videos. They say where joints are, and not
who somebody is or what they feel; do not use them to guess that. They were trained on photos from the web and are worse
on what is rare there: odd poses, crowds, dark or blurred pictures, views from above, people who are mostly hidden.
Measure on pictures like yours ([`hrkit test`](evaluation.md)) before anything depends on it.
"""


def models_page() -> str:
    """All entries of hrkit itself by kind, then the model cards in the READMEs of the plugins."""
    entries = published_entries()
    kinds = {kind: [entry for entry in entries if entry.kind == kind] for kind in ("pose", "detector", "backbone")}
    families = list(dict.fromkeys(entry.model for entry in kinds["pose"]))
    parts = [HEAD, POSE, INTENDED]
    parts += [f"### {name}\n\n{_pose_table([e for e in kinds['pose'] if e.model == name])}" for name in families]
    parts.append(f"## Detectors\n\nOf people; `classes=` takes other classes.\n\n{_plain_table(kinds['detector'])}")
    parts.append(
        "## Backbones from ImageNet\n\nTo start training with, as `backbone_weights`.\n\n"
        f"{_plain_table(kinds['backbone'])}"
    )
    parts += [card for readme in sorted(PLUGINS.glob("*/README.md")) for card in _cards(readme)]
    return "\n".join(parts)


def _pose_table(entries: Sequence[WeightsEntry]) -> str:
    figures = {name: None for entry in entries for name in entry.metrics if name in ("AP", "PCKh")}
    head = ["weights", "input", "joints", "codec", *figures, "licence", "from", ""]
    rows = [
        [
            f"`{entry.name}`",
            _size(entry),
            str(entry.num_joints),
            entry.codec,
            *(f"{entry.metrics[name]:.3f}" if name in entry.metrics else "" for name in figures),
            entry.licence,
            entry.source,
            "default" if entry.default else "",
        ]
        for entry in entries
    ]
    return _table(head, rows)


def _plain_table(entries: Sequence[WeightsEntry]) -> str:
    rows = [[f"`{entry.name}`", f"`{entry.model}`", _size(entry), entry.licence, entry.source] for entry in entries]
    return _table(["weights", "model", "input", "licence", "from"], rows)


def _size(entry: WeightsEntry) -> str:
    return "any" if entry.input_size is None else "{}x{}".format(*entry.input_size)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    rows_of_text = ["".join(f"| {cell} " if cell else "| " for cell in cells) + "|\n" for cells in lines]
    return f'<div class="names" markdown>\n\n{"".join(rows_of_text)}\n</div>\n'


def _cards(readme: Path) -> list[str]:
    """The sections `## Model card: ...` of a README, whose links lead nowhere from here and become plain text."""
    text = readme.read_text(encoding="utf-8")
    name = readme.parent.name
    place = rf"`plugins/{name}/\g<1>`"
    return [
        f"## {title}, of {name}\n{LINK.sub(place, body).rstrip()}\n"
        for title, body in CARD.findall(text)
    ]


if __name__ == "__main__":
    PAGE.write_text(models_page(), encoding="utf-8")
