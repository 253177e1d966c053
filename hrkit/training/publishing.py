"""A trained network as others can use it: weights, what they are of, and a model card; no pickles, no paths.

The files are those of a repository on the Hugging Face Hub, but a folder of them is as good.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from hrkit.datasets.loading import DatasetSpec
from hrkit.errors import HrkitError
from hrkit.evaluation.coco import FIGURES
from hrkit.files import read_json
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.training import run_folder
from hrkit.training.config import TrainConfig, load_config
from hrkit.version import __version__
from hrkit.weights import checkpoints, hub

CONFIG, CARD = "config.json", "README.md"
FILES = (hub.FILE, CONFIG, CARD)
"""What is published."""

REPORT = "report.json"
"""What `hrkit test` measured."""

_SHOWN = (
    *("epochs", "batch_size", "accumulate", "optimizer", "learning_rate", "schedule", "loss", "ema", "codec"),
    *("teacher", "seed"),
)
"""Settings of a run that the card shows."""


@frozen(kw_only=True)
class Run:
    """What there is to say of a run."""

    model: PoseModel
    config: TrainConfig
    training: Mapping[str, Any]
    """Of the weights: "AP" (or None), "step", "epoch"."""
    report: Mapping[str, Any] | None
    """What `hrkit test` measured of them."""


def publish(
    run: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    report: str | os.PathLike[str] | None = None,
    licence: str | None = None,
    private: bool = False,
) -> str:
    """Publishes the best weights of a run to `hf-hub:owner/name[@branch]`, or to a folder; says where they are.

    The folder is new or empty; a repository or branch that is not there is made.

    `report` is the folder that `hrkit test` wrote (None: `report` in the run, if it is there), `licence` named as the
    Hub does ("apache-2.0"), `private` is for a repository that is made. Raises `HrkitError` for what is no
    finished run, a report of another network, or a folder with something in it, `DownloadError` as `hub.upload`.
    """
    if hub.is_address(to):
        hub.Address.parse(to)  # before anything is read
    read = read_run(Path(run), None if report is None else Path(report))
    if hub.is_address(to):
        with tempfile.TemporaryDirectory() as scratch:
            write_files(read, Path(scratch), to, licence)
            return hub.upload(Path(scratch), FILES, to, private=private)
    if not os.fspath(to):
        raise HrkitError("the name of the folder to publish to is empty")
    target = Path(to)
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise HrkitError(f"{target} is there already; name a new folder")
    there = target.exists()
    place = target if there else target.parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".hrkit-", dir=place) as scratch:
        written = Path(scratch) / "published"
        written.mkdir()
        write_files(read, written, hub.FILE, licence)
        if there:  # it stays the folder that it is: a shell may be in it, or a link lead there
            for name in reversed(FILES):  # weights last
                (written / name).rename(target / name)
        else:
            written.rename(target)
    return str(target)


def read_run(folder: Path, report: Path | None = None) -> Run:
    """The best network of a run, checked to load. Raises as `publish`."""
    weights = folder / run_folder.EXPORT
    if not weights.is_file():
        raise HrkitError(f"{folder}: no run with weights to publish (no {run_folder.EXPORT})")
    metadata = checkpoints.read_checkpoint(weights).metadata
    backbone = metadata.get("backbone")
    if not isinstance(backbone, str):
        raise HrkitError(f"{weights} does not say what network it is of; `hrkit train` writes files that do")
    model = create_pose_model(backbone, weights=weights, num_joints=None, input_size=None)
    told = metadata.get("training")
    return Run(
        model=model,
        config=load_config(folder / run_folder.CONFIG, TrainConfig),
        training=told if isinstance(told, dict) else {},
        report=_read_report(report or folder / "report", model, wanted=report is not None),
    )


def _read_report(folder: Path, model: PoseModel, wanted: bool) -> Mapping[str, Any] | None:
    file = folder / REPORT
    if not file.is_file():
        if wanted:
            raise HrkitError(f"{folder}: no report there (no {REPORT}); `hrkit test --output {folder}` writes one")
        return None
    content = read_json(file)
    of = [content.get("model"), content.get("head"), content.get("input_size")] if isinstance(content, dict) else []
    if of != [model.name, model.spec.head, list(model.input_size)]:
        raise HrkitError(f"{file} is of another network ({', '.join(map(str, of))}), not of {model.describe()}")
    return content


def write_files(run: Run, folder: Path, weights: str, licence: str | None = None) -> None:
    """Writes `FILES` into a folder; `weights` is what a user will pass for them."""
    training = {name: run.training.get(name) for name in ("AP", "step", "epoch")}
    run.model.save(folder / hub.FILE, training={**training, "datasets": _datasets(run.config)})
    metadata = checkpoints.read_checkpoint(folder / hub.FILE).metadata
    said = {"library_name": "hrkit", "hrkit_version": __version__, **metadata}
    (folder / CONFIG).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(model_card(run, weights, licence), encoding="utf-8")


def model_card(run: Run, weights: str, licence: str | None = None) -> str:
    """The card, in Markdown with the Hub's YAML in front; `weights` is what a user passes for them."""
    model, (height, width) = run.model, run.model.input_size
    backbone, head = model.name, model.spec.head
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    skeleton = model.skeleton
    call = f'Pipeline.from_names("{backbone}", "lite_person", weights="{weights}")'
    facts = [
        ("Backbone, head", f"`{backbone}`, `{head}`"),
        ("Input", f"{height}x{width} px (height x width), {model.spec.channel_order.upper()}"),
        ("Parameters", f"{millions:.1f} million"),
        ("Codec", f"`{model.spec.codec}`, sigma {model.spec.sigma:g}"),
        ("Joints", f"{len(skeleton)} ({skeleton.name}): {', '.join(skeleton.keypoint_names)}"),
    ]
    parts = [
        _front_matter(run, licence),
        f"# {backbone}, {len(skeleton)} joints",
        "A network for top-down 2D human pose estimation: of a person cut out of a picture it makes a heatmap a joint. "
        "Trained with hrkit.",
        _table(("", ""), facts),
        "## Use",
        f'```python\nfrom hrkit import Pipeline\n\npipeline = {call}\nposes = pipeline("photo.jpg")\n```',
        f"```sh\nhrkit demo --image photo.jpg --backbone {backbone} --weights {weights}\n```",
        "## Figures",
        *_figures(run),
        "## Training",
        _table(("Setting", "Value"), _settings(run.config)),
        "Weights are safetensors; `config.json` repeats what their header says of the network.",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(run: Run, licence: str | None) -> str:
    lines = ["---", "library_name: hrkit", "pipeline_tag: keypoint-detection"]
    if licence is not None:
        lines.append(f"license: {json.dumps(licence)}")
    lines += ["tags:", "- pose-estimation", "- human-pose", f"- {json.dumps(run.model.name)}", "---"]
    return "\n".join(lines)


def _figures(run: Run) -> list[str]:
    report = run.report
    if report is None:
        ap, epoch = run.training.get("AP"), run.training.get("epoch")
        if ap is None:
            return ["None were measured."]
        return [f"AP {ap:.3f} on the people it was validated with, with their annotated boxes, after epoch {epoch}."]
    named = report.get("PCKh") or {name: report[name] for name in FIGURES if name in report}
    flip = "with" if report.get("flip_test") else "without"
    boxes = "annotated" if report.get("boxes") == "gt" else "a detector's"
    decoder = report.get("decoder")
    where = f"On {report.get('dataset')}, {report.get('people')} people, boxes {boxes}, {flip} flip test, `{decoder}`."
    return [where, _table(tuple(named), [[f"{value:.3f}" for value in named.values()]])]


def _settings(config: TrainConfig) -> list[tuple[str, str]]:
    shown = [("datasets", ", ".join(_datasets(config)))]
    shown += [(name, str(value)) for name in _SHOWN if (value := getattr(config, name)) is not None]
    return [(name.replace("_", " "), value) for name, value in shown]


def _datasets(config: TrainConfig) -> list[str]:
    """By name; where they lie is nobody's business."""
    return [DatasetSpec.parse(text).name for text in config.datasets]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *(["".join(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
