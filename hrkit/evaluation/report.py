"""What a test leaves behind: predictions as COCO results, figures as json, and a page that a person likes to read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from hrkit import geometry
from hrkit.datasets.base import KeypointDataset
from hrkit.drawing.contact_sheet import captioned, contact_sheet, draw_joints, draw_truth
from hrkit.drawing.plots import Curve, plot
from hrkit.errors import HrkitError
from hrkit.evaluation.coco import FIGURES as FIGURE_NAMES
from hrkit.evaluation.coco import CocoMeasures, Evaluation
from hrkit.evaluation.detected_boxes import match_boxes
from hrkit.evaluation.pck import pck, person_oks, torso_scale
from hrkit.files import atomic_path
from hrkit.images import write_image
from hrkit.pose_model import PoseModel
from hrkit.runtimes.complexity import layer_groups
from hrkit.structures import Skeleton
from hrkit.version import __version__

PREDICTIONS, FIGURES, PAGE, CURVES, WORST = "predictions.json", "report.json", "report.md", "curves.png", "worst.jpg"

WORST_COUNT = 24
"""How many people `worst.jpg` shows."""

TORSO_THRESHOLD, DIAGONAL_THRESHOLD = 0.2, 0.05
"""Of PCK: within a fifth of the torso (LSP's custom); without a torso, within a twentieth of the box's diagonal."""

_TABLE = ("AP", "Ap .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")
_TILE_HEIGHT = 288


@frozen(kw_only=True, eq=False)
class Subject:
    """What was tested: the network, the people, and whose boxes it was given."""

    model: PoseModel
    annotated: KeypointDataset
    """The people to find."""
    boxed: KeypointDataset
    """What the network was given: `annotated` itself, or its pictures with detected boxes."""
    boxes_in_words: str
    settings: Mapping[str, Any]
    """How it was tested, plain values: `boxes`, `weights`, `decoder`, `flip_test`, thresholds and so on."""
    seconds: float
    """From the first crop to the figures."""


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raises `HrkitError` if it is no folder, or holds anything and `overwrite` is not set."""
    if folder.exists() and not folder.is_dir():
        raise HrkitError(f"{folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise HrkitError(f"{folder} is not empty; pass --overwrite to replace the report in it, or another --output")


def write_report(folder: Path, subject: Subject, evaluation: Evaluation) -> dict[str, Any]:
    """Writes predictions, figures, curves, the worst people and the page into `folder`; gives what `report.json` holds.

    Each file appears whole or not at all; of an older report, files that this one has not are removed.
    """
    rows, found = _measured_people(subject)
    people = subject.annotated.select(rows)
    keypoints = evaluation.predictions.keypoints[found]
    similarity = person_oks(keypoints, people.keypoints, people.visible, people.areas, people.skeleton.sigmas)
    worst = np.argsort(similarity, kind="stable")[: min(WORST_COUNT, int(np.isfinite(similarity).sum()))]
    content = {
        **_figures(evaluation),
        "pck": joint_shares(people, keypoints),
        **_subject_content(subject, evaluation, len(rows)),
        "worst": [
            {
                "id": int(people.ids[row]),
                "image": people.image_paths[people.image_index[row]],
                "labelled": int(people.visible[row].sum()),
                "oks": float(similarity[row]),
            }
            for row in worst.tolist()
        ],
        "hrkit": __version__,
    }
    _write_json(folder / PREDICTIONS, evaluation.results)
    drawings: dict[str, NDArray[np.uint8]] = {}
    if evaluation.measures is not None:
        drawings[CURVES] = draw_curves(evaluation.measures)
    if len(worst):
        drawings[WORST] = draw_people(people, keypoints, similarity, worst.tolist(), subject.model.input_size)
    for name in (CURVES, WORST):
        if name in drawings:
            write_image(folder / name, drawings[name])
        else:
            (folder / name).unlink(missing_ok=True)
    with atomic_path(folder / PAGE) as temporary:
        temporary.write_text(report_page(content, people.skeleton), encoding="utf-8")
    _write_json(folder / FIGURES, content, indent=1)
    return content


def joint_shares(people: KeypointDataset, keypoints: NDArray[np.float64]) -> dict[str, Any]:
    """PCK of people (N rows) with (N,K,3) predictions, frame px: by joint, and their mean; -1 for what nobody has.

    The unit is the torso, left shoulder to right hip, where the skeleton has one (people without labels of both are
    left out), else the diagonal of the annotated box.
    """
    names = people.skeleton.keypoint_names
    if {"left_shoulder", "right_hip"} <= set(names):
        kind, threshold = "torso", TORSO_THRESHOLD
        scale = torso_scale(people.keypoints, people.visible, people.skeleton)
    else:
        kind, threshold = "box diagonal", DIAGONAL_THRESHOLD
        scale = np.linalg.norm(people.boxes[:, 2:] - people.boxes[:, :2], axis=1)
    shares = pck(keypoints, people.keypoints, people.visible, scale, threshold)
    return {
        "scale": kind,
        "threshold": threshold,
        "people": int((scale > 0).sum()),
        "mean": shares.mean,
        "per_joint": dict(zip(names, shares.per_joint.tolist(), strict=True)),
    }


def draw_curves(measures: CocoMeasures) -> NDArray[np.uint8]:
    """(H,W,3) BGR: AP over the OKS that counts as found, and precision over recall."""
    by_threshold = Curve("AP", measures.thresholds, measures.precision.mean(1), dots=True)
    chosen = [int(np.abs(measures.thresholds - at).argmin()) for at in (0.5, 0.75, 0.9)]
    recall = [Curve(f"OKS {measures.thresholds[t]:.2f}", measures.recall, measures.precision[t]) for t in chosen]
    recall.append(Curve("mean of 0.50 to 0.95", measures.recall, measures.precision.mean(0)))
    return np.concatenate(
        [
            plot("AP at each OKS threshold", "OKS threshold", [by_threshold], x_range=(0.5, 0.95), x_ticks=10),
            plot("precision over recall", "recall", recall),
        ],
        axis=1,
    )


def draw_people(
    people: KeypointDataset,
    keypoints: NDArray[np.float64],
    similarity: NDArray[np.float64],
    rows: Sequence[int],
    input_size: tuple[int, int],
) -> NDArray[np.uint8]:
    """A contact sheet of some rows of `people`: ground truth in white, the (N,K,3) predictions in colour, OKS written.

    Tiles have the aspect of `input_size`. Predicted joints are drawn where there is a label, which is what OKS looks
    at, and where they score 0.2 or more.
    """
    size = (_TILE_HEIGHT, round(_TILE_HEIGHT * input_size[1] / input_size[0]))
    tiles = []
    for row in rows:
        to_tile = geometry.crop_transform(geometry.xyxy_to_xywh(people.boxes[row]), size)
        tile = geometry.warp_crops(people.read_frame(row), to_tile[None], size)[0]
        truth = geometry.apply_affine(to_tile, people.keypoints[row])
        predicted = geometry.apply_affine(to_tile, keypoints[row, :, :2])
        shown = (people.visible[row] > 0) | (keypoints[row, :, 2] >= 0.2)
        drawn = draw_joints(tile, predicted, shown, people.skeleton)
        drawn = draw_truth(drawn, truth, people.visible[row], people.skeleton)
        tiles.append(captioned(drawn, f"id {people.ids[row]}  OKS {similarity[row]:.2f}"))
    return contact_sheet(tiles, 6)


def report_page(content: Mapping[str, Any], skeleton: Skeleton) -> str:
    """The page, in Markdown, of what `report.json` holds."""
    model, on = content["model"], content["dataset"]
    parts = [f"# {model} on {on}", f"**Boxes: {content['boxes_in_words']}.** {_advice(content)}"]
    height, width = content["input_size"]
    first = [model, f"{height}x{width}", f"{content['parameters'] / 1e6:.1f}M", f"{content['gflops']:.1f}"]
    heads = ["Arch", "Input size", "#Params", "GFLOPs"]
    if "AP" in content:
        parts.append(_markdown([*heads, *_TABLE], [first + [_share(content[name]) for name in _ap_names(content)]]))
        sizes = [
            [f"{name} ({limits})", str(content["people_by_size"][name]), _share(content["AP_by_size"][name])]
            for name, limits in _SIZE_LIMITS.items()
        ]
        parts += ["## AP by the size of people", _markdown(["Area, px", "People", "AP"], sizes)]
    else:
        rows = content["PCKh"]
        parts.append(_markdown([*heads, *rows], [first + [_percent(value) for value in rows.values()]]))
        parts.append("PCKh in percent: within half of 0.6 of the head box's diagonal; Mean@0.1 as the official code.")
    parts += _pck_part(content, skeleton)
    if "AP" in content:
        text = "How AP falls with the OKS that counts as found, and precision over recall."
        parts += ["## Curves", f"![{text}]({CURVES})"]
    parts += _worst_part(content)
    parts += ["## How it was tested", _settings_part(content)]
    return "\n\n".join(parts) + "\n"


_SIZE_LIMITS = {"small": "below 32x32", "medium": "32x32 to 96x96", "large": "above 96x96"}


def _ap_names(content: Mapping[str, Any]) -> list[str]:
    return [name for name in FIGURE_NAMES if name in content]


def _advice(content: Mapping[str, Any]) -> str:
    if "AP" not in content:
        return ""
    if content["boxes"] == "gt":
        return "With annotated boxes AP is about 2 points higher than with a detector's; do not compare the two."
    matched, people = content["people_matched"], content["people"]
    return f"{matched} of {people} annotated people have a box with IoU of 0.5 or more; PCK and OKS are theirs."


def _pck_part(content: Mapping[str, Any], skeleton: Skeleton) -> list[str]:
    shares = content["pck"]
    unit = "torso (left shoulder to right hip)" if shares["scale"] == "torso" else "diagonal of the annotated box"
    rows = [[name, _percent(100 * shares["per_joint"][name])] for name in skeleton.keypoint_names]
    return [
        f"## PCK@{shares['threshold']:g} by joint",
        f"Percent of the labelled joints within {shares['threshold']:g} of the {unit}, over {shares['people']} people"
        f"{_with(content, shares['scale'])}.",
        _markdown(["Joint", "PCK"], [*rows, ["**mean**", f"**{_percent(100 * shares['mean'])}**"]]),
    ]


def _with(content: Mapping[str, Any], scale: str) -> str:
    wanted = ["a box"] * (content["boxes"] != "gt") + ["a labelled torso"] * (scale == "torso")
    return f" with {' and '.join(wanted)}" if wanted else ""


def _worst_part(content: Mapping[str, Any]) -> list[str]:
    if not content["worst"]:
        return []
    whose = "" if content["boxes"] == "gt" else " of those with a box"
    rows = [
        [str(one["id"]), f"`{Path(one['image']).name}`", str(one["labelled"]), _share(one["oks"])]
        for one in content["worst"]
    ]
    return [
        "## The worst people",
        f"The lowest OKS{whose}: ground truth in white, predictions in colour (left blue, right orange).",
        f"![the people with the lowest OKS]({WORST})",
        _markdown(["Annotation", "Picture", "Labelled joints", "OKS"], rows),
    ]


def _settings_part(content: Mapping[str, Any]) -> str:
    left_out = {"pck", "worst", "AP_by_size", "people_by_size", "PCKh", "AP_by_OKS", *_ap_names(content)}
    if content["boxes"] == "gt":
        left_out |= {"boxes", "box_threshold", "detector_weights", "people_matched"}
    rows = []
    for name, value in content.items():
        if name in left_out or value is None:
            continue
        if isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, (list, tuple)):
            value = "x".join(map(str, value))
        rows.append([name.replace("_", " "), f"{value}".replace("|", "\\|")])
    return _markdown(["Setting", "Value"], rows)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"


def _percent(value: float) -> str:
    return "-" if value < 0 else f"{value:.1f}"


def _measured_people(subject: Subject) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the annotated people that PCK and OKS are measured on, and their rows in the predictions."""
    if subject.boxed is subject.annotated:
        everyone = np.arange(len(subject.annotated))
        return everyone, everyone
    return match_boxes(subject.annotated, subject.boxed)


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    measures = evaluation.measures
    if measures is None:
        return {"PCKh": evaluation.metrics}
    return {
        **evaluation.metrics,
        "AP_by_size": measures.ap_by_size,
        "AP_by_OKS": {
            f"{at:.2f}": value
            for at, value in zip(measures.thresholds.tolist(), measures.precision.mean(1).tolist(), strict=True)
        },
    }


def _subject_content(subject: Subject, evaluation: Evaluation, matched: int) -> dict[str, Any]:
    model, annotated = subject.model, subject.annotated
    image = torch.zeros(1, 3, *model.input_size, device=model.device, dtype=model.dtype)
    groups = layer_groups(model, image)
    side = np.sqrt(annotated.areas)
    bounds = {"small": side <= 32, "medium": (side >= 32) & (side <= 96), "large": side >= 96}
    return {
        "boxes_in_words": subject.boxes_in_words,
        **subject.settings,
        "people": len(annotated),
        "people_matched": matched,
        "people_by_size": {name: int(there.sum()) for name, there in bounds.items()},
        "box_count": len(subject.boxed),
        "images": len(annotated.image_paths),
        "model": model.name or type(model.backbone).__name__,
        "head": model.spec.head,
        "input_size": list(model.input_size),
        "skeleton": model.skeleton.name,
        "parameters": sum(group.parameters for group in groups),
        "gflops": sum(group.official for group in groups) / 1024**3,
        "seconds": subject.seconds,
        "network_seconds": evaluation.predictions.network_seconds,
        "outside_network": 1 - evaluation.predictions.network_seconds / max(subject.seconds, 1e-9),
    }


def _write_json(path: Path, content: Any, indent: int | None = None) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent), encoding="utf-8")
