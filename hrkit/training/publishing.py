"""Publishing a trained network: its weights, what they belong to, and a model card, without pickles and paths.

The files are those of a repository on the Hugging Face Hub. A folder of them works as well.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from hrkit import __version__
from hrkit.errors import HrkitError
from hrkit.evaluation.coco import FIGURES
from hrkit.evaluation.report import markdown_table
from hrkit.files import FilePath, read_json, reserved
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.training import run_folder
from hrkit.training.config import TrainConfig, load_config
from hrkit.weights import checkpoints, hub

CONFIG, CARD = "config.json", "README.md"
FILES = (hub.FILE, CONFIG, CARD)
"""The files that are published."""

REPORT = "report.json"
"""The figures that `hrkit test` writes."""

_SHOWN = (
    *("epochs", "batch_size", "accumulate", "optimizer", "learning_rate", "schedule", "loss", "ema", "codec"),
    *("teacher", "seed"),
)
"""Settings of a run that the card shows."""


@frozen(kw_only=True)
class Run:
    """What the card of a run describes."""

    model: PoseModel
    config: TrainConfig
    training: Mapping[str, Any]  # plain values of the weights' header
    """The origin of the weights: "AP" (or None), "step" and "epoch"."""
    report: Mapping[str, Any] | None  # plain values of report.json
    """The figures of `hrkit test`, if there are any."""


def publish(
    run: FilePath,
    to: FilePath,
    *,
    report: FilePath | None = None,
    licence: str | None = None,
    private: bool = False,
) -> str:
    """Publishes the best weights of a run to `hf-hub:owner/name[@branch]` or to a folder, and returns their place.

    A missing repository or branch is created, a folder must be new or empty. `report` is the folder that `hrkit test`
    wrote; by default it is `report` in the run, if that exists. `licence` is named as on the Hub ("apache-2.0").
    `private` applies to a repository that is created.

    Raises `HrkitError` for an unfinished run, a report of another network, a folder that is not empty or that another
    run publishes to, and `DownloadError` as `hub.upload`.
    """
    if hub.is_address(to):
        hub.Address.parse(to)  # raises before anything is read
    read = read_run(Path(run), None if report is None else Path(report))
    if hub.is_address(to):
        with tempfile.TemporaryDirectory() as scratch:
            write_files(read, Path(scratch), to, licence)
            return hub.upload(Path(scratch), FILES, to, private=private)
    if not os.fspath(to):
        raise HrkitError("the name of the folder to publish to is empty")
    target = Path(to)
    with reserved(target):
        if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
            raise HrkitError(f"{target} is there already; name a new folder")
        exists = target.exists()
        place = target if exists else target.parent
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".hrkit-", dir=place) as scratch:
            written = Path(scratch) / "published"
            written.mkdir()
            write_files(read, written, hub.FILE, licence)
            if not exists:
                written.replace(target)
            else:  # an existing folder is kept: it may be linked to, or be the current directory of a shell
                for name in reversed(FILES):  # weights last
                    (written / name).replace(target / name)
    return str(target)


def read_run(folder: Path, report: Path | None = None) -> Run:
    """The best network of a run, loaded to check it. Raises as `publish`."""
    weights = folder / run_folder.EXPORT
    if not weights.is_file():
        raise HrkitError(f"{folder}: no run with weights to publish (no {run_folder.EXPORT})")
    metadata = checkpoints.read_checkpoint(weights).metadata
    backbone, training = metadata.get("backbone"), metadata.get("training")
    if not isinstance(backbone, str):
        raise HrkitError(f"{weights} does not name its network; `hrkit train` writes files that do")
    model = create_pose_model(backbone, weights=weights, num_joints=None, input_size=None)
    file = (report or folder / "report") / REPORT
    if report is not None and not file.is_file():
        raise HrkitError(f"{report}: no report there (no {REPORT}); `hrkit test --output {report}` writes one")
    return Run(
        model=model,
        config=load_config(folder / run_folder.CONFIG, TrainConfig),
        training=training if isinstance(training, dict) else {},
        report=_read_report(file, model) if file.is_file() else None,
    )


def _read_report(file: Path, model: PoseModel) -> Mapping[str, Any]:
    content = read_json(file)
    network = [content.get(name) for name in ("model", "head", "input_size")] if isinstance(content, dict) else []
    if network != [model.name, model.spec.head, list(model.input_size)]:
        named = ", ".join(map(str, network))
        raise HrkitError(f"{file} is of another network ({named}), not of {model.describe()}")
    return content


def write_files(run: Run, folder: Path, weights: str, licence: str | None = None) -> None:
    """Writes `FILES` into a folder. `weights` is the name by which users will load them."""
    training = {name: run.training.get(name) for name in ("AP", "step", "epoch")}
    run.model.save(folder / hub.FILE, training={**training, "datasets": run_folder.dataset_names(run.config)})
    metadata = checkpoints.read_checkpoint(folder / hub.FILE).metadata
    content = {"library_name": "hrkit", "hrkit_version": __version__, **metadata}
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / CARD).write_text(model_card(run, weights, licence), encoding="utf-8")


def model_card(run: Run, weights: str, licence: str | None = None) -> str:
    """The card in Markdown, with the Hub's YAML in front. `weights` is the name by which users load them."""
    spec, backbone = run.model.spec, run.model.name
    height, width = run.model.input_size
    millions = sum(parameter.numel() for parameter in run.model.parameters()) / 1e6
    joints = spec.skeleton.keypoint_names
    call = f'Pipeline.from_names("{backbone}", "lite_person", weights="{weights}")'
    facts = [
        ("Backbone, head", f"`{backbone}`, `{spec.head}`"),
        ("Input", f"{height}x{width} px (height x width), {spec.channel_order.upper()}"),
        ("Parameters", f"{millions:.1f} million"),
        ("Codec", f"`{spec.codec}`, sigma {spec.sigma}"),
        ("Joints", f"{len(joints)} ({spec.skeleton.name}): {', '.join(joints)}"),
    ]
    settings = [("datasets", ", ".join(run_folder.dataset_names(run.config)))]
    for name in _SHOWN:
        value = getattr(run.config, name)
        if value is not None:
            settings.append((name.replace("_", " "), str(value)))
    front = [
        *("---", "library_name: hrkit", "pipeline_tag: keypoint-detection"),
        *([] if licence is None else [f"license: {json.dumps(licence)}"]),
        *("tags:", "- pose-estimation", "- human-pose", f"- {json.dumps(backbone)}", "---"),
    ]
    parts = [
        "\n".join(front),
        f"# {backbone}, {len(joints)} joints",
        "A network for top-down 2D human pose estimation. From the crop of a person it makes one heatmap per joint. "
        "Trained with hrkit.",
        markdown_table(("", ""), facts),
        "## Use",
        f'```python\nfrom hrkit import Pipeline\n\npipeline = {call}\nposes = pipeline("photo.jpg")\n```',
        f"```sh\nhrkit demo photo.jpg --backbone {backbone} --weights {weights}\n```",
        "## Figures",
        *_figures(run),
        "## Training",
        markdown_table(("Setting", "Value"), settings),
        "Weights are safetensors; `config.json` repeats what their header says of the network.",
    ]
    return "\n\n".join(parts) + "\n"


def _figures(run: Run) -> list[str]:
    report = run.report
    if report is None:
        ap, epoch = run.training.get("AP"), run.training.get("epoch")
        if ap is None:
            return ["None were measured."]
        return [f"AP {ap:.3f} on the people it was validated with, with their annotated boxes, after epoch {epoch}."]
    figures = report.get("PCKh") or {name: report[name] for name in FIGURES if name in report}
    flip = "with" if report.get("flip_test") else "without"
    boxes = "annotated" if report.get("boxes") == "gt" else "a detector's"
    decoder = report.get("decoder")
    where = f"On {report.get('dataset')}, {report.get('people')} people, boxes {boxes}, {flip} flip test, `{decoder}`."
    return [where, markdown_table(list(figures), [[f"{value:.3f}" for value in figures.values()]])]
