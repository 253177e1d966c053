"""From maps of joints and tags to people: peaks, grouping by associative embedding, and the joints that are missing.

Newell et al., Associative Embedding, NIPS 2017, as the official HigherHRNet code does it (lib/core/group.py), in its
settings. Where that looks at every cell for each person, `search` bounds what a block of cells can hold and looks into
few; the results are the same.

Shapes: K joints, P people, T tags a joint (one of each pass of the network), maps (H,W). Points are (x, y) in cells;
those of people lie at a cell's middle, half a cell from its corner, or a quarter from there towards the higher
neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hrkit_higherhrnet.search import Floats, Ints, best_cells

NEAR = 1e-4
"""What a tag's distance, as far as it matters, counts beside the official cost. That often leaves several assignments
equal, where this takes the one with most tags near enough."""


@frozen(kw_only=True)
class Grouping:
    """How peaks become people; the defaults are the official settings."""

    max_people: int = 30
    """The highest peaks of each joint that are looked at; of more people in a picture not all are found."""
    detection_threshold: float = 0.1
    """Peaks must be above it."""
    tag_threshold: float = 1.0
    """Tags further apart are of two people."""
    adjust: bool = True
    """Whether joints are moved a quarter cell towards the higher neighbour."""
    refine: bool = True
    """Whether joints that a person lacks are looked for where its tags are."""


@frozen(eq=False)
class People:
    """P people of one picture."""

    keypoints: Floats
    """(P,K,2) x, y, cells; (0, 0) for a joint that nobody saw."""
    keypoint_scores: Floats
    """(P,K) the heatmap there; 0 for a joint that nobody saw."""
    scores: NDArray[np.float64]
    """(P,) mean of the joints' scores before the missing ones were looked for: what the official AP sorts by."""
    tags: Floats
    """(P,K,T) of the joints that were grouped, 0 for the others."""

    def __len__(self) -> int:
        return len(self.scores)


def group(heatmaps: Floats, tags: Floats, order: Sequence[int], settings: Grouping | None = None) -> People:
    """(K,H,W) heatmaps and (T,K,H,W) tags of a picture -> its people; `settings` None are the official ones.

    `order` is the order in which joints are grouped, those that are seen best first. A cell that is no number in any of
    its maps is no peak. Nobody is P = 0.
    """
    settings = settings or Grouping()
    heatmaps, tags = _clean(heatmaps, tags)
    joints = len(heatmaps)
    peaks = [_peaks(heatmap, settings.detection_threshold)[: settings.max_people] for heatmap in heatmaps]
    flat, flat_tags = heatmaps.reshape(joints, -1), tags.reshape(len(tags), joints, -1)
    members = _assign(
        [flat[joint, cells] for joint, cells in enumerate(peaks)],
        [flat_tags[:, joint, cells].T for joint, cells in enumerate(peaks)],
        order,
        settings,
    )
    cells = np.full(members.shape, -1)
    for joint, own in enumerate(peaks):
        there = members[:, joint] >= 0
        cells[there, joint] = own[members[there, joint]]
    return _people(heatmaps, tags, cells, settings)


def _clean(heatmaps: Floats, tags: Floats) -> tuple[Floats, Floats]:
    """Where a map is no number, joints and tags are 0; the very same arrays where all are."""
    with np.errstate(over="ignore", invalid="ignore"):
        # squares do not cancel, so one pass tells; that it also takes huge numbers for infinite costs a second look
        sums = [np.dot(maps.ravel(), maps.ravel()) for maps in (heatmaps, tags)]
    if np.isfinite(sums).all():
        return heatmaps, tags
    wrong = ~np.isfinite(heatmaps) | ~np.isfinite(tags).all(0)
    return np.where(wrong, np.float32(0), heatmaps), np.where(wrong, np.float32(0), tags)


def _peaks(heatmap: Floats, threshold: float) -> Ints:
    """(n,) the flat cells of (H,W) that are local maxima above the threshold, best first.

    A maximum is the highest of the 5x5 cells about it, or as high as others there.
    """
    cells = np.flatnonzero((heatmap == cv2.dilate(heatmap, _WINDOW)) & (heatmap > threshold))
    return cells[np.argsort(-heatmap.ravel()[cells], kind="stable")]


_WINDOW = np.ones((5, 5), np.uint8)


def _assign(values: list[Floats], embeddings: list[Floats], order: Sequence[int], settings: Grouping) -> Ints:
    """(P,K) which peak of a joint belongs to each person, -1 for none.

    `values` (n_k,) and `embeddings` (n_k,T) are of the peaks of each joint. One joint after the other is shared out:
    each peak goes to the person whose mean tags are nearest, all at once (Hungarian method), or starts a person.
    """
    members = np.full((0, len(values)), -1)
    sums = np.zeros((0, embeddings[0].shape[1]))
    for joint in order:
        score, tag = values[joint].astype(np.float64), embeddings[joint].astype(np.float64)
        owners = np.full(len(score), -1)
        known = min(len(members), settings.max_people)
        if known and len(score):
            means = sums[:known] / (members[:known] >= 0).sum(1)[:, None]
            distance = np.sqrt(np.square(tag[:, None] - means).sum(2))
            cost = 100 * np.rint(distance) - score[:, None] + NEAR * np.minimum(distance, settings.tag_threshold)
            # with more peaks than people some start people of their own: those that would cost most
            spare = np.full((len(score), max(0, len(score) - known)), 1e6 + cost.max())
            rows, columns = linear_sum_assignment(np.concatenate([cost, spare], axis=1))
            fits = columns < known
            fits[fits] = distance[rows[fits], columns[fits]] < settings.tag_threshold
            owners[rows[fits]] = columns[fits]
        new = np.flatnonzero(owners < 0)
        owners[new] = len(members) + np.arange(len(new))
        members = np.concatenate([members, np.full((len(new), len(values)), -1)])
        sums = np.concatenate([sums, np.zeros((len(new), sums.shape[1]))])
        members[owners, joint] = np.arange(len(score))
        sums[owners] += tag
    return members


def _people(heatmaps: Floats, tags: Floats, cells: Ints, settings: Grouping) -> People:
    """People by the flat cells (P,K) of their joints, -1 for none."""
    joints, width = len(heatmaps), heatmaps.shape[2]
    which = np.arange(joints)
    flat = heatmaps.reshape(joints, -1)
    seen = cells >= 0
    at = np.where(seen, cells, 0)
    scores = np.where(seen, flat[which, at], 0)
    own_tags = np.moveaxis(tags.reshape(len(tags), joints, -1)[:, which, at], 0, -1) * seen[..., None]
    points = _adjusted(heatmaps, at) if settings.adjust else np.stack([at % width, at // width], axis=2)
    points = points * seen[..., None]
    means = scores.astype(np.float64).mean(1)
    if settings.refine and len(cells):
        mean_tags = (own_tags.sum(1) / seen.sum(1)[:, None]).astype(np.float32)
        found = at.copy()
        people, missing = np.nonzero(~seen)
        found[people, missing] = best_cells(heatmaps, tags, missing, mean_tags[people])
        value = flat[which, found]
        added = ~seen & (value > 0)
        points = np.where(added[..., None], _adjusted(heatmaps, found), points)
        scores = np.where(added, value, scores)
    return People(points.astype(np.float32), scores.astype(np.float32), means, own_tags.astype(np.float32))


def _adjusted(heatmaps: Floats, cells: Ints) -> Floats:
    """(P,K,2) the middle of flat cells (P,K), a quarter cell towards the higher neighbour along each axis."""
    joints, height, width = heatmaps.shape
    y, x = cells // width, cells % width
    which = np.arange(joints)
    right, left = (heatmaps[which, y, np.clip(x + step, 0, width - 1)] for step in (1, -1))
    below, above = (heatmaps[which, np.clip(y + step, 0, height - 1), x] for step in (1, -1))
    quarter = np.stack([np.where(right > left, 0.25, -0.25), np.where(below > above, 0.25, -0.25)], axis=2)
    return (np.stack([x, y], axis=2) + 0.5 + quarter).astype(np.float32)
