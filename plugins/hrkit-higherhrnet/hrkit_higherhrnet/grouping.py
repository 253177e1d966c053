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

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from hrkit_higherhrnet.maps import Maps, look
from hrkit_higherhrnet.search import Floats, Ints

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


def _people(maps: Maps, cells: Ints, settings: Grouping) -> People:
    """People by the flat cells (P,K) of their joints, -1 for none."""
    which = np.broadcast_to(np.arange(len(maps.heatmaps)), cells.shape)
    seen = cells >= 0
    at = np.where(seen, cells, 0)
    values, own_tags = maps.at(which, at)
    scores, own_tags = np.where(seen, values, 0), own_tags * seen[..., None]
    means = scores.astype(np.float64).mean(1)
    found, added = at, np.zeros_like(seen)
    if settings.refine and len(cells):
        mean_tags = (own_tags.sum(1) / seen.sum(1)[:, None]).astype(np.float32)
        missing, people = np.nonzero(~seen.T)  # joint by joint, whose maps then stay in the cache
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
    """(P,K,2) the middle of flat cells (P,K), a quarter cell towards the higher neighbour along each axis."""
    joints, height, width = heatmaps.shape
    y, x = cells // width, cells % width
    which = np.arange(joints)
    right, left = (heatmaps[which, y, np.clip(x + step, 0, width - 1)] for step in (1, -1))
    below, above = (heatmaps[which, np.clip(y + step, 0, height - 1), x] for step in (1, -1))
    quarter = np.stack([np.where(right > left, 0.25, -0.25), np.where(below > above, 0.25, -0.25)], axis=2)
    return (np.stack([x, y], axis=2) + 0.5 + quarter).astype(np.float32)
