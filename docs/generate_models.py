"""Writes docs/models.md from the registered weights and the plugins' model cards: `python docs/generate_models.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hrkit.weights.catalogue import WeightsEntry, register_weights

PAGE = Path(__file__).with_name("models.md")
PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
CARD = re.compile(r"^## Model card: (.*?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[([^]]+)\]\([^)]+\)")

HEAD = """# Models

The weights of hrkit itself and the model cards of hrkit-lite, written by `docs/generate_models.py`. The plugins
hrkit-rtm, hrkit-vitpose, hrkit-higherhrnet and hrkit-torchvision add more, which their READMEs list. `hrkit models`
lists all of them, `hrkit models --skeleton coco_wholebody` or `--joints 21` those with these joints, and `--json` shows
every field.

`weights="auto"` takes the entries marked *default*: those with COCO's joints, or the one with the `num_joints` or
`skeleton` that you ask for. Weights of animals or clothes are taken only if they are asked for, by their skeleton,
their number of joints or their name. `create_pose_model` asks for 256x192 unless `input_size=None`.

The results are those of the publisher of the weights, on the test of the dataset in the name: COCO val2017 with a
person detector and flip test, others mostly with annotated boxes. AP, AUC and PCK are better if higher, NME (a fraction
of the face) if lower. Licences are those of the files. Whether you may use what a network learned from a dataset is for
you to find out.

None of MMPose's published files has been run with hrkit yet. HRNet, HRNetV2 and ResNet give what MMPose and the
authors' code give with made-up weights, and each network takes a file with the names and shapes of the published one.
"""

POSE = """## Pose networks

Input is height x width in px; *codec* is how the heatmaps are decoded (see
[Evaluation](evaluation.md#from-crop-to-score)). Of several weights for one network, those with `udp` and `dark` are
better.
"""

INTENDED = """These networks find the joints of people in photos and videos. They do not know who people are or what
they feel; do not use them to guess that. They were trained on photos from the web and are worse on what is rare there:
unusual poses, crowds, dark or blurred pictures, views from above, and people who are mostly hidden. Measure on pictures
like yours ([`hrkit test`](evaluation.md)) before you rely on them.
"""


def models_page() -> str:
    """The entries of hrkit itself by kind, then the model cards in the READMEs of the plugins."""
    entries = register_weights()
    kinds = {kind: [entry for entry in entries if entry.kind == kind] for kind in ("pose", "detector", "backbone")}
    families = list(dict.fromkeys(entry.model for entry in kinds["pose"]))
    parts = [HEAD, POSE, INTENDED]
    parts += [f"### {name}\n\n{_pose_table([e for e in kinds['pose'] if e.model == name])}" for name in families]
    parts.append(
        "## Detectors\n\nThey find people; `classes=` selects other classes.\n\n"
        f"{_plain_table(kinds['detector'])}"
    )
    parts.append(
        "## Backbones from ImageNet\n\nStarts for training, as `backbone_weights`.\n\n"
        f"{_plain_table(kinds['backbone'])}"
    )
    parts += [card for readme in sorted(PLUGINS.glob("*/README.md")) for card in _cards(readme)]
    return "\n".join(parts)


def _pose_table(entries: Sequence[WeightsEntry]) -> str:
    head = ["weights", "input", "joints", "codec", "result", "licence", "from", ""]
    rows = [
        [
            f"`{entry.name}`",
            _size(entry),
            f"{entry.num_joints} {entry.skeleton.name}",
            entry.codec,
            "" if entry.figure is None else "{} {:.3f}".format(*entry.figure),
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
    """The sections `## Model card: ...` of a README. Their relative links become plain text."""
    text = readme.read_text(encoding="utf-8")
    name = readme.parent.name
    place = rf"`plugins/{name}/\g<1>`"
    return [
        f"## {title}, of {name}\n{LINK.sub(place, body).rstrip()}\n"
        for title, body in CARD.findall(text)
    ]


if __name__ == "__main__":
    PAGE.write_text(models_page(), encoding="utf-8")
