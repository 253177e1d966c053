"""AP of keypoints as COCO measures it.

`coco_results` turns predictions into COCO's result rows as the official HRNet code does (lib/dataset/coco.py:
rescoring, OKS-NMS). `coco_ap` measures such rows against annotations with pycocotools. `evaluate` runs a network and
does both. PCK and PCKh are in `pck`.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from hrkit import ops
from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.mpii import MpiiTruth
from hrkit.datasets.records import Id
from hrkit.errors import HrkitError
from hrkit.evaluation.coco_rows import as_coco, checked_people, checked_results, content_of, numbered_ids
from hrkit.evaluation.detected_boxes import PICTURES_AT_ONCE
from hrkit.evaluation.pck import Floats, pckh
from hrkit.evaluation.predictions import Predictions, crop_areas, find_in_dataset, predict_dataset
from hrkit.files import FilePath
from hrkit.geometry import xyxy_to_xywh
from hrkit.pose_model import PoseModel
from hrkit.skeletons import coco17

if TYPE_CHECKING:
    from pycocotools.coco import COCO

Row = Mapping[str, Any]
"""A row, or the whole content, of a json in COCO's format."""
Suppression = Literal["oks", "soft-oks"] | None

FIGURES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""The figures of `coco_ap`, in pycocotools' order."""

SIZES = ("small", "medium", "large")
"""COCO's sizes of people: areas up to 32^2 px, up to 96^2 px, and above."""

_SUPPRESS = {"oks": ops.oks_nms, "soft-oks": ops.soft_oks_nms}


def coco_results(
    image_ids: ArrayLike,
    keypoints: ArrayLike,
    box_scores: ArrayLike,
    areas: ArrayLike,
    *,
    nms: Suppression = "oks",
    nms_threshold: float = 0.9,
    score_threshold: float = 0.2,
    sigmas: ArrayLike | None = None,
    category_id: Id | ArrayLike = 1,
) -> list[dict[str, Any]]:
    """COCO's result rows of N predictions: `image_id`, `category_id`, `keypoints` (3K numbers) and `score`.

    `image_ids` (N,); `keypoints` (N,K,3) x, y in frame px and score; `box_scores` (N,) of the detector, 1 for
    ground-truth boxes; `areas` (N,) of the crops (margin and aspect included) in frame px squared. `sigmas` (K,) are
    COCO's by default. `category_id` is one id, or (N,) of them.

    The score of a person is the box score times the mean of the keypoint scores above `score_threshold`, or 0 if none
    is above. Then duplicates in an image are removed: `"oks"` drops people of lower score with an OKS above
    `nms_threshold`; `"soft-oks"` keeps the 20 best people per image, and lowers scores only to choose them; None keeps
    everybody.

    Images are in the order of their first appearance, the rows of an image in the order of falling score (for None,
    as given). This is `evaluate` in lib/dataset/coco.py of the official HRNet code.

    Raises `HrkitError` for shapes that do not fit, values that are not finite, or an unknown `nms`.
    """
    thresholds = {"nms_threshold": nms_threshold, "score_threshold": score_threshold}
    given = (image_ids, keypoints, box_scores, areas)
    return _results_and_rows(*given, nms=nms, **thresholds, sigmas=sigmas, category_id=category_id)[0]


def _results_and_rows(
    image_ids: ArrayLike,
    keypoints: ArrayLike,
    box_scores: ArrayLike,
    areas: ArrayLike,
    *,
    nms: Suppression,
    nms_threshold: float = 0.9,
    score_threshold: float = 0.2,
    sigmas: ArrayLike | None = None,
    category_id: Id | ArrayLike = 1,
) -> tuple[list[dict[str, Any]], NDArray[np.int64]]:
    """What `coco_results` returns, and the row of the predictions that each comes from."""
    ids = np.asarray(image_ids)
    poses, boxes, area = (np.asarray(values, np.float64) for values in (keypoints, box_scores, areas))
    if nms is not None and nms not in _SUPPRESS:
        raise HrkitError(f"unknown nms {nms!r}; choices: {', '.join(map(repr, _SUPPRESS))}, None")
    if len(poses) == 0 and len(ids) == 0:
        return [], np.zeros(0, np.int64)
    _check_predictions(ids, poses, boxes, area)
    spread = _spreads(sigmas, 0 if nms is None else poses.shape[1])
    scores = rescore(boxes, poses[..., 2], score_threshold)
    kept = _rows_by_image(ids)
    if nms is not None:
        suppress = _SUPPRESS[nms]
        kept = [rows[suppress(poses[rows], scores[rows], area[rows], nms_threshold, spread)] for rows in kept]
    order = np.concatenate(kept)
    categories = np.broadcast_to(np.asarray(category_id), ids.shape)
    return _result_rows(ids[order], poses[order], scores[order], categories[order]), order


def _result_rows(
    ids: NDArray[Any], poses: Floats, scores: NDArray[np.floating[Any]], category_ids: NDArray[Any]
) -> list[dict[str, Any]]:
    columns = (ids, category_ids, poses.reshape(len(poses), 3 * poses.shape[1]), scores)
    names = ("image_id", "category_id", "keypoints", "score")
    return [dict(zip(names, row, strict=True)) for row in zip(*(one.tolist() for one in columns), strict=True)]


def rescore(box_scores: ArrayLike, keypoint_scores: ArrayLike, threshold: float = 0.2) -> Floats:
    """(N,) box scores times the mean of each person's (N,K) keypoint scores above `threshold`, or 0."""
    points = np.asarray(keypoint_scores, np.float64)
    counted = points > threshold
    mean = np.where(counted, points, 0.0).sum(1) / np.maximum(counted.sum(1), 1)
    return np.asarray(box_scores, np.float64) * mean


@frozen(eq=False)
class CocoMeasures:
    """The measures of COCO's evaluation; -1 if there is nobody to measure."""

    figures: dict[str, float]
    """The ten figures of `coco_ap`."""
    ap_by_size: dict[str, float] = field(factory=lambda: dict.fromkeys(SIZES, 0.0))
    """AP of people of each of `SIZES`. Medium and large are APM and APL; COCO's own table leaves out small."""
    thresholds: Floats = field(factory=lambda: np.linspace(0.5, 0.95, 10))
    """(T,) OKS above which a person counts as found."""
    recall: Floats = field(factory=lambda: np.linspace(0, 1, 101))
    """(R,) points at which precision is read."""
    precision: Floats = field(factory=lambda: np.zeros((10, 101)))
    """(T,R) precision; its mean over R is the AP at each threshold."""


def coco_ap(
    annotations: FilePath | Row | COCO, results: FilePath | Sequence[Row], *, sigmas: ArrayLike | None = None
) -> dict[str, float]:
    """COCO's ten figures, exactly those of pycocotools: AP, AP50, AP75, APM, APL, and the same for AR.

    `annotations` is a json in COCO's format, its content, or pycocotools' `COCO`; `results` are the rows of
    `coco_results` or a json of them. Both are left unchanged. `sigmas` (K,) are COCO's by default and have to be given
    for another number of joints. M and L are people of 32^2 to 96^2 px and above; -1 if there is nobody of that size.
    Without results every figure is 0.

    Labelled joints are counted, whatever `num_keypoints` says. A missing `iscrowd` counts as 0, missing keypoints as
    joints without label, and an area that is missing or 0 is that of the box. Annotation ids may start at 0;
    pycocotools alone never counts such a person as found.

    Raises `HrkitError`, one line with id, field and count, for a file that cannot be read, faulty annotations, and
    results with unknown images, unknown categories or another number of joints.
    """
    return coco_measures(annotations, results, sigmas=sigmas).figures


def coco_measures(
    annotations: FilePath | Row | COCO, results: FilePath | Sequence[Row], *, sigmas: ArrayLike | None = None
) -> CocoMeasures:
    """The figures of `coco_ap` with AP by size and curves. Takes and raises the same as `coco_ap`."""
    from pycocotools.cocoeval import COCOeval

    content, where = content_of(annotations)
    images = numbered_ids(content["images"], where, "images")
    categories = numbered_ids(content["categories"], where, "categories")
    people = checked_people(content, where, images, categories)
    spread = _spreads(sigmas, max((len(person.keypoints) for person in people), default=0))
    rows = checked_results(results, len(spread), images, categories)
    if not rows:
        return CocoMeasures(dict.fromkeys(FIGURES, 0.0))
    found = [
        {
            "image_id": images[str(row.image_id)],
            "category_id": categories[str(row.category_id)],
            "keypoints": row.keypoints.tolist(),
            "score": row.score,
        }
        for row in rows
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = as_coco(people, len(spread), images, categories)
        measured = COCOeval(truth, truth.loadRes(found), "keypoints")
        if sigmas is not None:
            measured.params.kpt_oks_sigmas = spread
        measured.params.areaRng.append([0, 32**2])
        measured.params.areaRngLbl.append("small")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    figures = dict(zip(FIGURES, measured.stats.tolist(), strict=True))
    everyone, small = measured.eval["precision"][..., [0, -1], 0].transpose(3, 0, 1, 2)  # T, R, categories, sizes, 1
    return CocoMeasures(
        figures,
        {"small": float(_mean_known(small.ravel())), "medium": figures["APM"], "large": figures["APL"]},
        measured.params.iouThrs,
        measured.params.recThrs,
        _mean_known(everyone),
    )


@frozen(eq=False)
class Evaluation:
    """The outcome of `evaluate` or `evaluate_pckh`."""

    metrics: dict[str, float]
    """The ten figures of `coco_ap`, or those of `pckh`."""
    results: list[dict[str, Any]]
    """COCO's result rows, rescored and suppressed."""
    predictions: Predictions
    """One row per person of `boxed`."""
    boxed: KeypointDataset
    """The pictures with the boxes that the network was given, or those of the people that it found by itself."""
    kept: NDArray[np.int64]
    """The row of `boxed` that each of `results` comes from."""
    measures: CocoMeasures | None = None
    """AP by size and curves; None for PCKh."""


def evaluate(
    model: PoseModel,
    dataset: KeypointDataset,
    *,
    annotated: KeypointDataset | None = None,
    decoder: str | None = None,
    flip_test: bool = True,
    nms: Suppression = "oks",
    nms_threshold: float = 0.9,
    score_threshold: float = 0.2,
    batch_size: int = 32,
    workers: int = 2,
    progress: bool = True,
) -> Evaluation:
    """Runs `model` on the boxes of `dataset` and measures AP against its annotations.

    If `dataset` holds detected boxes, `annotated` are the same pictures with annotated people. AP with annotated boxes
    is about 2 points higher than with detected ones, so say which it is when you quote it. A network that finds people
    by itself (`needs_boxes` False) sees only the pictures of `dataset`; its people and scores are measured unchanged,
    as the official codes of such networks do.

    Under torchrun the ranks share the work and all get the result. Raises `HrkitError` as `coco_ap`.
    """
    people = dataset if annotated is None else annotated
    check_labelled(people)
    truth = coco_annotations(people)
    if model.needs_boxes:
        how: dict[str, Any] = {"decoder": decoder, "flip_test": flip_test, "batch_size": batch_size}
        rescoring = {"nms": nms, "nms_threshold": nms_threshold, "score_threshold": score_threshold}
        boxed, predictions = dataset, predict_dataset(model, dataset, workers=workers, progress=progress, **how)
        results, kept = _rescored(model, dataset, predictions, **rescoring)
    else:
        if decoder is not None:
            model.create_codec(decoder)  # raises if the network has another
        dataset.only_category()  # which the people that it finds get
        batch_size = min(batch_size, PICTURES_AT_ONCE)
        boxed, predictions = find_in_dataset(
            model, dataset, flip_test=flip_test, batch_size=batch_size, progress=progress
        )
        image_ids = boxed.image_ids[boxed.image_index]
        results = _result_rows(image_ids, predictions.keypoints, boxed.scores, boxed.category_ids)
        kept = np.arange(len(boxed))
    measures = coco_measures(truth, results, sigmas=dataset.skeleton.sigmas)
    return Evaluation(measures.figures, results, predictions, boxed, kept, measures)


def evaluate_pckh(
    model: PoseModel,
    dataset: KeypointDataset,
    truth: MpiiTruth,
    *,
    decoder: str | None = None,
    flip_test: bool = True,
    batch_size: int = 32,
    workers: int = 2,
    progress: bool = True,
) -> Evaluation:
    """Runs `model` on the boxes of MPII people and measures PCKh, in percent, against `truth` of the same rows.

    Raises `HrkitError` as `pck.pckh`.
    """
    how: dict[str, Any] = {"decoder": decoder, "flip_test": flip_test, "batch_size": batch_size}
    predictions = predict_dataset(model, dataset, workers=workers, progress=progress, **how)
    results, kept = _rescored(model, dataset, predictions, nms=None)
    names = dataset.skeleton.keypoint_names
    figures = pckh(predictions.keypoints, truth.keypoints, truth.missing, truth.head_boxes, names)
    return Evaluation(figures, results, predictions, dataset, kept)


def _rescored(
    model: PoseModel,
    dataset: KeypointDataset,
    predictions: Predictions,
    **rescoring: Any,  # those of coco_results
) -> tuple[list[dict[str, Any]], NDArray[np.int64]]:
    return _results_and_rows(
        dataset.image_ids[dataset.image_index],
        predictions.keypoints,
        dataset.scores,
        crop_areas(dataset, model.input_size, model.spec.margin),
        sigmas=dataset.skeleton.sigmas,
        category_id=dataset.category_ids,
        **rescoring,
    )


def check_labelled(people: KeypointDataset) -> None:
    """Raises `HrkitError` if nobody has a labelled joint, as pycocotools would then measure nothing."""
    if not people.visible.any():
        raise HrkitError(f"{people.name}: nobody has a labelled joint of {people.skeleton.name}; there is no AP")


def coco_annotations(dataset: KeypointDataset) -> dict[str, Any]:
    """The people of a dataset in COCO's format, those to ignore included."""
    image_ids, names = dataset.image_ids.tolist(), dataset.skeleton.keypoint_names
    triples = np.concatenate([dataset.keypoints, 2 * dataset.visible[..., None]], axis=2).reshape(len(dataset), -1)
    columns = (dataset.image_index, dataset.category_ids, xyxy_to_xywh(dataset.boxes), dataset.areas, triples)
    rows = [
        {"image_id": image_ids[row], "category_id": category, "bbox": box, "area": area, "keypoints": points}
        for row, category, box, area, points in zip(*(column.tolist() for column in columns), strict=True)
    ]
    rows += [
        {
            "image_id": image_ids[one.image_index],
            "category_id": one.category_id,
            "iscrowd": int(one.crowd),
            "bbox": list(one.box),
        }
        for one in dataset.ignored
    ]
    categories = {str(row["category_id"]): row["category_id"] for row in rows} or {"1": 1}
    return {
        "images": [{"id": image_id} for image_id in image_ids],
        "categories": [{"id": one, "name": str(one), "keypoints": list(names)} for one in categories.values()],
        "annotations": [{"id": number, **row} for number, row in enumerate(rows, 1)],
    }


def _mean_known(values: Floats) -> Floats:
    """The mean over the last axis of the values that are not -1; -1 if there are none."""
    return np.ma.filled(np.ma.masked_equal(values, -1).mean(-1), -1.0)


def _check_predictions(ids: NDArray[Any], poses: Floats, boxes: Floats, areas: Floats) -> None:
    if poses.ndim != 3 or poses.shape[2] != 3:
        raise HrkitError(f"keypoints have shape {poses.shape}, wanted (N, K, 3): x, y, score")
    for name, values in (("image_ids", ids), ("box_scores", boxes), ("areas", areas)):
        if values.shape != (len(poses),):
            raise HrkitError(f"{name} has shape {values.shape}, wanted ({len(poses)},), one per row of keypoints")
    finite = np.isfinite(poses).all((1, 2)) & np.isfinite(boxes) & np.isfinite(areas)
    if not finite.all():
        row = int(np.argmin(finite))
        count = f"{int((~finite).sum())} of {len(poses)}"
        raise HrkitError(f"{count} people have numbers that are not finite, first row {row}, image {ids[row]}")


def _spreads(sigmas: ArrayLike | None, joints: int) -> Floats:
    """(K,) the given sigmas, or COCO's; checked against the number of joints if that is not 0."""
    spreads = coco17.sigmas if sigmas is None else np.asarray(sigmas, np.float64)
    if joints and spreads.shape != (joints,):
        raise HrkitError(f"{joints} keypoints, but {spreads.size} sigmas; give `sigmas` for this skeleton")
    return spreads


def _rows_by_image(ids: NDArray[Any]) -> list[NDArray[np.int64]]:
    """The rows of each image; images are in the order of their first appearance."""
    _, first, place, counts = np.unique(ids, return_index=True, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(place.ravel(), kind="stable"), np.cumsum(counts)[:-1])
    return [rows[image] for image in np.argsort(first)]
