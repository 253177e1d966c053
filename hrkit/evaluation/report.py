"""The report of a test: predictions as COCO results, figures as JSON, and a Markdown page with drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen

from hrkit import __version__, geometry
from hrkit.datasets.base import KeypointDataset
from hrkit.drawing.contact_sheet import captioned, contact_sheet, draw_joints, draw_truth
from hrkit.drawing.plots import Curve, plot
from hrkit.errors import HrkitError
from hrkit.evaluation.coco import FIGURES as FIGURE_NAMES
from hrkit.evaluation.coco import CocoMeasures, Evaluation
from hrkit.evaluation.detected_boxes import count_boxes, match_boxes
from hrkit.evaluation.pck import Floats, pck, person_oks, torso_scale
from hrkit.files import json_text, write_text
from hrkit.images import write_image
from hrkit.pose_model import PoseModel
from hrkit.runtimes.complexity import layer_groups
from hrkit.structures import Frame, Size

PREDICTIONS, FIGURES, PAGE, CURVES, WORST = "predictions.json", "report.json", "report.md", "curves.png", "worst.jpg"
FILES = (PREDICTIONS, FIGURES, PAGE, CURVES, WORST)
"""The files of a report."""

WORST_COUNT = 24
"""The number of people in `worst.jpg`."""

TORSO_THRESHOLD, DIAGONAL_THRESHOLD = 0.2, 0.05
"""PCK thresholds: a fifth of the torso (as LSP does) or, without a torso, a twentieth of the box's diagonal."""

Content = dict[str, Any]
"""What `report.json` holds: plain values, lists and tables of them."""

_OFFICIAL_HEADS = ("AP", "Ap .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")
_SIZE_LIMITS = {"small": "below 32x32", "medium": "32x32 to 96x96", "large": "above 96x96"}
_TILE_HEIGHT = 288


@frozen(kw_only=True, eq=False)
class Subject:
    """What was tested: the network, the people and their boxes."""

    model: PoseModel
    annotated: KeypointDataset
    """The people to find."""
    boxed: KeypointDataset
    """The boxes that the network was given: `annotated` itself, or its pictures with detected boxes."""
    boxes_in_words: str
    settings: Mapping[str, Any]
    """Plain values, such as `boxes`, `weights`, `decoder`, `flip_test` and thresholds."""
    seconds: float
    """Time from the first crop to the figures."""


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raises `HrkitError` if `folder` is a file, or if it holds anything and `overwrite` is false."""
    if folder.exists() and not folder.is_dir():
        raise HrkitError(f"{folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise HrkitError(f"{folder} is not empty; pass --overwrite to replace the report in it, or another --output")


def write_report(folder: Path, subject: Subject, evaluation: Evaluation) -> Content:
    """Writes predictions, figures, curves, the worst people and the page; returns the content of `report.json`.

    Each file is written whole or not at all. Drawings of an older report that this one does not have are removed.
    """
    annotated, measures = subject.annotated, evaluation.measures
    rows = found = np.arange(len(annotated))
    if subject.boxed is not annotated:
        rows, found = match_boxes(annotated, subject.boxed)
    kept = evaluation.boxed.select(evaluation.kept)
    people, keypoints = annotated.select(rows), evaluation.predictions.keypoints[found]
    oks = person_oks(keypoints, people.keypoints, people.visible, people.areas, people.skeleton.sigmas)
    worst = np.argsort(oks, kind="stable")[: min(WORST_COUNT, int(np.isfinite(oks).sum()))].tolist()
    content = {
        **_figures(evaluation),
        "pck": joint_shares(people, keypoints),
        **_description(subject, evaluation, len(rows)),
        **({} if subject.boxed is annotated else {"outcomes": count_boxes(annotated, kept)}),
        "worst": [
            {
                "id": people.ids[row].item(),
                "image": people.image_paths[people.image_index[row]],
                "labelled": int(people.visible[row].sum()),
                "oks": float(oks[row]),
            }
            for row in worst
        ],
        "hrkit": __version__,
    }
    write_text(folder / PREDICTIONS, json_text(evaluation.results))
    for name, drawing in (
        (CURVES, None if measures is None else draw_curves(measures)),
        (WORST, draw_people(people, keypoints, oks, worst, subject.model.input_size) if worst else None),
    ):
        if drawing is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_image(folder / name, drawing)
    write_text(folder / PAGE, report_page(content))
    write_text(folder / FIGURES, json_text(content, indent=1))
    return content


def joint_shares(people: KeypointDataset, keypoints: Floats) -> Content:
    """PCK of N people with predictions (N,K,3) in frame px: per joint and its mean; -1 for a joint without labels.

    Distances are measured in torsos, left shoulder to right hip, if the skeleton has one; people without both labels
    are left out. For other skeletons the unit is the diagonal of the annotated box.
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


def _figures(evaluation: Evaluation) -> Content:
    measures = evaluation.measures
    if measures is None:
        return {"PCKh": evaluation.metrics}
    by_oks = zip(measures.thresholds.tolist(), measures.precision.mean(1).tolist(), strict=True)
    return {
        **evaluation.metrics,
        "AP_by_size": measures.ap_by_size,
        "AP_by_OKS": {f"{threshold:.2f}": ap for threshold, ap in by_oks},
    }


def _description(subject: Subject, evaluation: Evaluation, matched: int) -> Content:
    model, annotated, network_seconds = subject.model, subject.annotated, evaluation.predictions.network_seconds
    groups = layer_groups(model, torch.zeros(1, 3, *model.input_size, device=model.device, dtype=model.dtype))
    side = np.sqrt(annotated.areas)
    by_size = {"small": side <= 32, "medium": (side >= 32) & (side <= 96), "large": side >= 96}
    return {
        "boxes_in_words": subject.boxes_in_words,
        **subject.settings,
        "people": len(annotated),
        "people_matched": matched,
        "people_by_size": {name: int(inside.sum()) for name, inside in by_size.items()},
        "box_count": len(subject.boxed),
        "images": len(annotated.image_paths),
        "model": model.name or type(model.backbone).__name__,
        "head": model.spec.head,
        "input_size": list(model.input_size),
        "skeleton": model.skeleton.name,
        "parameters": sum(group.parameters for group in groups),
        "gflops": sum(group.official for group in groups) / 1024**3,
        "seconds": subject.seconds,
        "network_seconds": network_seconds,
        "outside_network": 1 - network_seconds / max(subject.seconds, 1e-9),
    }


def draw_curves(measures: CocoMeasures) -> Frame:
    """(H,W,3) BGR: AP at each OKS threshold beside precision over recall."""
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
    people: KeypointDataset, keypoints: Floats, oks: Floats, rows: Sequence[int], input_size: Size
) -> Frame:
    """A contact sheet of some rows of `people`: ground truth in white, predictions (N,K,3) in colour, OKS as caption.

    Tiles have the aspect of `input_size`. A predicted joint is drawn if it is labelled or scores 0.2 or more.
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
        tiles.append(captioned(drawn, f"id {people.ids[row]}  OKS {oks[row]:.2f}"))
    return contact_sheet(tiles, 6)


def report_page(content: Content) -> str:
    """The Markdown page of a `report.json`."""
    parts = [
        f"# {content['model']} on {content['dataset']}",
        *(_ap_section(content) if "AP" in content else _pckh_section(content)),
        *_joint_section(content),
    ]
    if "AP" in content:
        text = "AP at each OKS threshold, and precision over recall."
        parts += ["## Curves", f"![{text}]({CURVES})"]
    if content["worst"]:
        parts += _worst_section(content)
    parts += ["## How it was tested", markdown_table(["Setting", "Value"], _settings(content))]
    return "\n\n".join(parts) + "\n"


def _ap_section(content: Content) -> list[str]:
    """The boxes, the ten figures of AP, what was found, and AP by the size of people."""
    annotated_boxes = content["boxes"] == "gt"
    note = (
        "With annotated boxes AP is about 2 points higher than with a detector's; do not compare the two."
        if annotated_boxes
        else f"{content['people_matched']} of {content['people']} annotated people have a box with IoU of 0.5 or more; "
        "PCK and OKS are theirs."
    )
    by_size = [
        [f"{name} ({limits})", content["people_by_size"][name], _shown(content["AP_by_size"][name])]
        for name, limits in _SIZE_LIMITS.items()
    ]
    return [
        f"**Boxes: {content['boxes_in_words']}.** {note}",
        _network_table(content, _OFFICIAL_HEADS, [_shown(content[name]) for name in FIGURE_NAMES]),
        *([] if annotated_boxes else _outcomes(content)),
        "## AP by the size of people",
        markdown_table(["Area, px", "People", "AP"], by_size),
    ]


def _pckh_section(content: Content) -> list[str]:
    """The boxes and the figures of PCKh."""
    return [
        f"**Boxes: {content['boxes_in_words']}.**",
        _network_table(content, list(content["PCKh"]), [_shown(value, 1) for value in content["PCKh"].values()]),
        "PCKh in percent: within half of 0.6 of the head box's diagonal; Mean@0.1 as the official code.",
    ]


def _network_table(content: Content, names: Sequence[str], figures: Sequence[str]) -> str:
    """One row: the network and its figures."""
    size, millions = "x".join(map(str, content["input_size"])), content["parameters"] / 1e6
    network = [content["model"], size, f"{millions:.1f}M", f"{content['gflops']:.1f}"]
    return markdown_table(["Arch", "Input size", "#Params", "GFLOPs", *names], [[*network, *figures]])


def _joint_section(content: Content) -> list[str]:
    """PCK by joint, and of whom."""
    shares = content["pck"]
    by_torso = shares["scale"] == "torso"
    unit = "torso (left shoulder to right hip)" if by_torso else "diagonal of the annotated box"
    needed = ["a box"] * (content["boxes"] != "gt") + ["a labelled torso"] * by_torso
    condition = f" with {' and '.join(needed)}" if needed else ""
    rows = [[name, _shown(share, 1, 100)] for name, share in shares["per_joint"].items()]
    return [
        f"## PCK@{shares['threshold']:g} by joint",
        f"Percent of the labelled joints within {shares['threshold']:g} of the {unit}, over {shares['people']} people"
        f"{condition}.",
        markdown_table(["Joint", "PCK"], [*rows, ["**mean**", f"**{_shown(shares['mean'], 1, 100)}**"]]),
    ]


def _worst_section(content: Content) -> list[str]:
    """The people of the lowest OKS, drawn and listed."""
    rows = [
        [one["id"], f"`{Path(one['image']).name}`", one["labelled"], _shown(one["oks"])] for one in content["worst"]
    ]
    return [
        "## The worst people",
        f"The lowest OKS{'' if content['boxes'] == 'gt' else ' of those with a box'}: ground truth in white, "
        "predictions in colour (left blue, right orange).",
        f"![the people with the lowest OKS]({WORST})",
        markdown_table(["Annotation", "Picture", "Labelled joints", "OKS"], rows),
    ]


def outcome_shares(content: Content) -> dict[str, str]:
    """The counts of `count_boxes`, in percent of the people or per picture."""
    counts, people, pictures = content["outcomes"], content["people"], max(content["images"], 1)
    shares = {
        name: f"{100 * counts[key] / max(people, 1):.1f} %"
        for name, key in (("found", "found"), ("missed", "missed"), ("found twice", "twice"))
    }
    per_picture = {name: f"{counts[name] / pictures:.2f} per picture" for name in ("invented", "inexact")}
    return shares | per_picture


def _outcomes(content: Content) -> list[str]:
    shares = outcome_shares(content)
    return [
        "## People found",
        "Of the annotated people, and of the boxes whose poses are kept. A person is found by a box with an IoU of 0.5 "
        "or more; a further one finds them twice. An invented box has an IoU under 0.1 with everybody annotated, an "
        "inexact one under 0.5. Where people are left without annotation, some invented boxes are right.",
        markdown_table(list(shares), [list(shares.values())]),
    ]


def markdown_table(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; bars in the cells of `rows` are escaped."""
    lines = [heads, ["---"] * len(heads), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _settings(content: Content) -> list[tuple[str, str]]:
    """Names and values of everything in the content that the page does not show elsewhere."""
    shown = {"pck", "worst", "outcomes", "AP_by_size", "people_by_size", "PCKh", "AP_by_OKS", *FIGURE_NAMES}
    if content["boxes"] == "gt":
        shown |= {"boxes", "box_threshold", "detector_weights", "people_matched"}
    rows = []
    for name, value in content.items():
        if name in shown or value is None:
            continue
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, (list, tuple)):
            value = "x".join(map(str, value))
        rows.append((name.replace("_", " "), str(value)))
    return rows


def _shown(value: float, digits: int = 3, factor: float = 1) -> str:
    """The number, or a dash for -1, which stands for nothing measured, and for NaN."""
    return f"{factor * value:.{digits}f}" if value >= 0 else "-"
