"""Groups the peaks of heatmaps into people by associative embedding, and searches for joints that are missing.

Newell et al., Associative Embedding, NIPS 2017, as in the official HigherHRNet code (lib/core/group.py) with its
settings. The official code looks at every cell for each person. `search` bounds the values in blocks of cells and looks
into few blocks; the results are the same.

Shapes: K joints, P people, T tags per joint (one per pass of the network), maps (H,W). Points are (x, y) in cells. The
points of people lie a quarter cell from the middle of a cell, towards the higher neighbour along each axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from hrkit_higherhrnet.maps import Maps, look
from hrkit_higherhrnet.matching import match
from hrkit_higherhrnet.search import Floats, Ints

NEW_PERSON = 1e10
"""Cost of a new person if there are more peaks than people, as in the official code."""


@frozen(kw_only=True)
class Grouping:
    """Settings of the grouping. The defaults are the official ones."""

    max_people: int = 30
    """Most peaks per joint, highest first. If a picture has more people, not all are found."""
    detection_threshold: float = 0.1
    """Peaks must be above this value."""
    tag_threshold: float = 1.0
    """Tags this far apart belong to two people."""
    adjust: bool = True
    """Whether to move joints a quarter cell towards the higher neighbour."""
    refine: bool = True
    """Whether to search for the joints that a person lacks, near the person's tags."""


@frozen(eq=False)
class People:
    """The P people in one picture."""

    keypoints: Floats
    """(P,K,2) x, y in cells; (0, 0) for a joint that was not found."""
    keypoint_scores: Floats
    """(P,K) heatmap values; 0 for a joint that was not found."""
    scores: NDArray[np.float64]
    """(P,) mean scores of the grouped joints, without those found by the search. The official AP sorts by these."""
    tags: Floats
    """(P,K,T) tags of the grouped joints; 0 for the others."""

    def __len__(self) -> int:
        return len(self.scores)


def group(heatmaps: Floats, tags: Floats, order: Sequence[int], settings: Grouping | None = None) -> People:
    """Groups heatmaps (K,H,W) and tags (T,K,H,W) of a picture into people, with the official settings by default.

    Joints are grouped in this `order`, those that are seen best first. A cell that is NaN or infinite in any map is not
    a peak.
    """
    settings = settings or Grouping()
    maps = look(heatmaps, tags, settings.detection_threshold, settings.max_people)
    ends = np.cumsum([len(own) for own in maps.peaks])
    values, embeddings = maps.at(np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0)), np.concatenate(maps.peaks))
    members = _assign(np.split(values, ends[:-1]), np.split(embeddings, ends[:-1]), order, settings)
    cells = np.full(members.shape, -1)
    for joint, own in enumerate(maps.peaks):
        there = members[:, joint] >= 0
        cells[there, joint] = own[members[there, joint]]
    return _people(maps, cells, settings)


def _assign(values: Sequence[Floats], embeddings: Sequence[Floats], order: Sequence[int], settings: Grouping) -> Ints:
    """(P,K) the index of each person's peak per joint, or -1.

    `values` (n_k,) and `embeddings` (n_k,T) are heatmap values and tags of the peaks of each joint. Joint by joint, all
    peaks are assigned to the people with the nearest mean tags. A peak that is near nobody starts a new person.
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
            cost = 100 * np.rint(distance) - score[:, None]
            spare = np.full((len(score), max(0, len(score) - known)), NEW_PERSON)
            columns = match(np.concatenate([cost, spare], axis=1))
            near = np.flatnonzero(columns < known)
            near = near[distance[near, columns[near]] < settings.tag_threshold]
            owners[near] = columns[near]
        new = np.flatnonzero(owners < 0)
        owners[new] = len(members) + np.arange(len(new))
        members = np.concatenate([members, np.full((len(new), len(values)), -1)])
        sums = np.concatenate([sums, np.zeros((len(new), sums.shape[1]))])
        members[owners, joint] = np.arange(len(score))
        sums[owners] += tag
    return members


def _people(maps: Maps, cells: Ints, settings: Grouping) -> People:
    """The people, given the flat cells (P,K) of their joints or -1."""
    which = np.broadcast_to(np.arange(len(maps.heatmaps)), cells.shape)
    seen = cells >= 0
    at = np.where(seen, cells, 0)
    values, own_tags = maps.at(which, at)
    scores, own_tags = np.where(seen, values, 0), own_tags * seen[..., None]
    means = scores.astype(np.float64).mean(1)
    found, added = at, np.zeros_like(seen)
    if settings.refine and len(cells):
        mean_tags = (own_tags.sum(1) / seen.sum(1)[:, None]).astype(np.float32)
        missing, people = np.nonzero(~seen.T)  # joint by joint, which keeps each map in the cache
        found = at.copy()
        found[people, missing] = maps.best_cells(missing, mean_tags[people])
        values, _ = maps.at(which, found)
        added = ~seen & (values > 0)
        scores = np.where(added, values, scores)
    points = _adjusted(maps.heatmaps, found)
    if not settings.adjust:
        points = np.where(added[..., None], points, np.stack(divmod(at, maps.width)[::-1], axis=2))
    points = points * (seen | added)[..., None]
    return People(points.astype(np.float32), scores.astype(np.float32), means, own_tags.astype(np.float32))


def _adjusted(heatmaps: Floats, cells: Ints) -> Floats:
    """(P,K,2) the middles of flat cells (P,K), moved a quarter cell towards the higher neighbour along each axis."""
    joints, height, width = heatmaps.shape
    y, x = cells // width, cells % width
    which = np.arange(joints)
    right, left = (heatmaps[which, y, np.clip(x + step, 0, width - 1)] for step in (1, -1))
    below, above = (heatmaps[which, np.clip(y + step, 0, height - 1), x] for step in (1, -1))
    quarter = np.stack([np.where(right > left, 0.25, -0.25), np.where(below > above, 0.25, -0.25)], axis=2)
    return (np.stack([x, y], axis=2) + 0.5 + quarter).astype(np.float32)
