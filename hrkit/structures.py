"""What flows through hrkit: detections, crops, poses. Frozen values, checked when built, indexed by row.

Shapes: N people, K keypoints, (H, W) a frame or crop, (h, w) a heatmap. Points are (x, y). *Frame px* are pixels of the
picture, *crop px* those of the network's input; the centre of the upper left pixel is (0, 0) in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from attrs import evolve, field, frozen
from attrs.converters import optional
from numpy.typing import ArrayLike, NDArray

from hrkit.errors import BoxError, UnknownNameError
from hrkit.notebooks import html_table

if TYPE_CHECKING:
    import pandas
    import supervision
    import torch

Size = tuple[int, int]
"""(height, width)."""

Frame = NDArray[np.uint8]
"""A picture: (H, W, 3) BGR."""

Index = int | slice | Sequence[int] | NDArray[Any]

_SIDES = ["x1", "y1", "x2", "y2"]


def _frozen(values: ArrayLike, dtype: type) -> NDArray[Any]:
    array: NDArray[Any] = np.array(values, dtype)
    array.flags.writeable = False
    return array


def frozen_float32(values: ArrayLike) -> NDArray[np.float32]:
    """A copy that nobody can write to."""
    return _frozen(values, np.float32)


def frozen_float64(values: ArrayLike) -> NDArray[np.float64]:
    """A copy that nobody can write to."""
    return _frozen(values, np.float64)


def frozen_int64(values: ArrayLike) -> NDArray[np.int64]:
    """A copy that nobody can write to."""
    return _frozen(values, np.int64)


def _boxes(values: ArrayLike) -> NDArray[np.float32]:
    boxes = frozen_float32(values)
    return boxes.reshape(0, 4) if boxes.size == 0 else boxes


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _name_pairs(pairs: Iterable[Iterable[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((a, b) for a, b in pairs)


def _rows(index: Index, length: int) -> NDArray[np.int64]:
    """The rows that an index of one axis of `length` stands for; a single one stays a row of its own."""
    given = np.asarray(index) if not isinstance(index, slice) else index
    empty = not isinstance(given, slice) and given.size == 0 and given.dtype != bool
    return np.atleast_1d(np.arange(length)[[] if empty else given]).astype(np.int64)


def _expect(name: str, array: NDArray[Any], *shape: int | None) -> None:
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {array.shape}, wanted ({wanted})")


def check_boxes(xyxy: NDArray[Any], name: str = "boxes", area: bool = False) -> None:
    """Raises `BoxError` unless `xyxy` is (N,4), finite, and no box is inverted; says which row is wrong.

    With `area` every box must also have one.
    """
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise BoxError(f"{name} must have shape (N, 4): x1, y1, x2, y2 in frame px; got {xyxy.shape}")
    for wrong, what in (
        (~np.isfinite(xyxy).all(1), "is not finite"),
        ((xyxy[:, 2:] < xyxy[:, :2]).any(1), "is inverted (x2 < x1 or y2 < y1)"),
        (area & (xyxy[:, 2:] <= xyxy[:, :2]).any(1), "has no area (x2 = x1 or y2 = y1)"),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            raise BoxError(f"{name}: row {row} {what}: {xyxy[row].tolist()}")


@frozen(eq=False, repr=False)
class Detections:
    """Boxes around people (or other things) in one frame.

    Raises `BoxError` for boxes that are NaN or inverted, `ValueError` for fields of unequal length.
    """

    xyxy: NDArray[np.float32] = field(converter=_boxes)
    """(N,4) left, top, right, bottom, frame px."""
    scores: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,) confidence of the detector."""
    class_ids: NDArray[np.int64] = field(converter=frozen_int64)
    """(N,) class in the detector's own list; 0 is person."""

    def __attrs_post_init__(self) -> None:
        check_boxes(self.xyxy, "detections")
        _expect("scores", self.scores, len(self.xyxy))
        _expect("class_ids", self.class_ids, len(self.xyxy))

    @classmethod
    def empty(cls) -> Detections:
        """Nobody."""
        return cls(np.zeros((0, 4)), np.zeros(0), np.zeros(0))

    @classmethod
    def from_boxes(cls, xyxy: ArrayLike) -> Detections:
        """People of score 1 from (N,4) boxes in frame px, numbers or a tensor; an empty list is nobody."""
        given: Any = xyxy
        if hasattr(given, "detach"):  # a tensor, of whatever device; torch itself is not imported for this
            given = given.detach().cpu()
        try:
            with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is refused as such
                boxes = np.asarray(given, np.float32)
        except (TypeError, ValueError) as error:
            raise BoxError(f"boxes must be numbers of shape (N, 4): x1, y1, x2, y2 in frame px ({error})") from None
        boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
        check_boxes(boxes)
        return cls(boxes, np.ones(len(boxes)), np.zeros(len(boxes)))

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, index: Index) -> Detections:
        rows = _rows(index, len(self))
        return Detections(self.xyxy[rows], self.scores[rows], self.class_ids[rows])

    def __repr__(self) -> str:
        return f"Detections({len(self)}: scores {_short(self.scores)})"

    def _repr_html_(self) -> str:
        """A table for notebooks: a row a box."""
        rows = [[one["score"], one["class_id"], *one["box"]] for one in self.to_dict()]
        return html_table(f"Detections: {len(self)}", ["score", "class_id", *_SIDES], rows)

    @property
    def areas(self) -> NDArray[np.float32]:
        """(N,) box areas, frame px squared."""
        return (self.xyxy[:, 2] - self.xyxy[:, 0]) * (self.xyxy[:, 3] - self.xyxy[:, 1])

    def to_dict(self) -> list[dict[str, Any]]:
        """One dict a row: `box` (x1, y1, x2, y2), `score`, `class_id`; plain numbers, ready for json."""
        return [
            {"box": box.tolist(), "score": float(score), "class_id": int(class_id)}
            for box, score, class_id in zip(self.xyxy, self.scores, self.class_ids, strict=True)
        ]

    def to_coco(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """COCO detection results, one dict a row; boxes as x, y, width, height."""
        sides = np.concatenate([self.xyxy[:, :2], self.xyxy[:, 2:] - self.xyxy[:, :2]], axis=1)
        return [
            {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
            for box, score in zip(sides.tolist(), self.scores.tolist(), strict=True)
        ]

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a box: `score`, `class_id`, `x1`, `y1`, `x2`, `y2`. Needs pandas."""
        import pandas

        frame = pandas.DataFrame(self.xyxy, columns=_SIDES)
        frame.insert(0, "class_id", self.class_ids)
        frame.insert(0, "score", self.scores)
        return frame

    def to_supervision(self) -> supervision.Detections:
        """The same for the `supervision` package, where that is installed."""
        import supervision

        return supervision.Detections(xyxy=self.xyxy, confidence=self.scores, class_id=self.class_ids)


@frozen(eq=False, repr=False)
class Crops:
    """People cut out of frames, ready for the pose network. Raises `ValueError` for fields of unequal length."""

    images: torch.Tensor
    """(N,3,H,W) float32, normalised, in the network's channel order."""
    to_frame: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,2,3) affine maps, what the codec decodes (crop px) -> frame px."""

    def __attrs_post_init__(self) -> None:
        _expect("to_frame", self.to_frame, len(self.images), 2, 3)

    @classmethod
    def empty(cls, input_size: tuple[int, int]) -> Crops:
        """Nobody, at (height, width) crop px."""
        import torch

        return cls(torch.zeros(0, 3, *input_size), np.zeros((0, 2, 3)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Index) -> Crops:
        rows = _rows(index, len(self))
        return Crops(self.images[rows], self.to_frame[rows])

    def __repr__(self) -> str:
        return f"Crops{tuple(self.images.shape)}"


@frozen
class Skeleton:
    """The joints of a body and how they belong together.

    Raises `ValueError` for a name twice, a pair of names that are not there, or another number of sigmas.
    """

    name: str
    keypoint_names: tuple[str, ...] = field(converter=_names)
    """K names."""
    edges: tuple[tuple[str, str], ...] = field(converter=_name_pairs)
    """Limbs to draw, as pairs of names."""
    flip_pairs: tuple[tuple[str, str], ...] = field(converter=_name_pairs)
    """(left, right) pairs that change places in a mirrored picture."""
    sigmas: NDArray[np.float64] = field(converter=frozen_float64, eq=False, repr=False)
    """(K,) the spread of each joint in OKS, relative to the square root of the person's area."""

    def __attrs_post_init__(self) -> None:
        _expect("sigmas", self.sigmas, len(self.keypoint_names))
        if len(set(self.keypoint_names)) != len(self.keypoint_names):
            raise ValueError(f"skeleton {self.name!r} has a keypoint name twice")
        unknown = {name for pair in self.edges + self.flip_pairs for name in pair} - set(self.keypoint_names)
        if unknown:
            raise ValueError(f"skeleton {self.name!r} has no keypoint {sorted(unknown)[0]!r}")

    def __len__(self) -> int:
        return len(self.keypoint_names)

    def index(self, name: str) -> int:
        """The index of a keypoint by name; raises `UnknownNameError` with the closest names."""
        if name not in self.keypoint_names:
            raise UnknownNameError("keypoint", name, self.keypoint_names)
        return self.keypoint_names.index(name)

    @property
    def edge_indices(self) -> NDArray[np.int64]:
        """(E,2) `edges` as indices."""
        return self._indices(self.edges)

    @property
    def flip_indices(self) -> NDArray[np.int64]:
        """(K,) `mirrored[k]` is what joint k is called in the mirrored picture."""
        mirrored = np.arange(len(self))
        left, right = self._indices(self.flip_pairs).T
        mirrored[left], mirrored[right] = right, left
        return mirrored

    def _indices(self, pairs: tuple[tuple[str, str], ...]) -> NDArray[np.int64]:
        return np.array([[self.index(a), self.index(b)] for a, b in pairs], np.int64).reshape(-1, 2)


@frozen(eq=False, repr=False)
class Poses:
    """The people of one frame and their keypoints.

    Raises `ValueError` for fields of unequal length or keypoints that do not fit the skeleton.
    """

    keypoints: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,K,2) x, y in frame px."""
    keypoint_scores: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,K) the peak of each heatmap; not a probability."""
    detections: Detections
    """N rows: the box each person was cut out by."""
    skeleton: Skeleton
    track_ids: NDArray[np.int64] | None = field(default=None, converter=optional(frozen_int64))
    """(N,) the person's id over time, or None."""
    heatmaps: NDArray[np.float32] | None = field(default=None, converter=optional(frozen_float32))
    """(N,K,h,w) where they were asked for, or None."""
    own_scores: NDArray[np.float32] | None = field(default=None, converter=optional(frozen_float32))
    """(N,) how sure the network is of each person, where it says so itself, or None."""

    def __attrs_post_init__(self) -> None:
        people, joints = len(self.detections), len(self.skeleton)
        _expect("keypoints", self.keypoints, people, joints, 2)
        _expect("keypoint_scores", self.keypoint_scores, people, joints)
        if self.track_ids is not None:
            _expect("track_ids", self.track_ids, people)
        if self.heatmaps is not None:
            _expect("heatmaps", self.heatmaps, people, joints, None, None)
        if self.own_scores is not None:
            _expect("own_scores", self.own_scores, people)

    @classmethod
    def empty(cls, skeleton: Skeleton, heatmap_size: tuple[int, int] | None = None) -> Poses:
        """Nobody; with heatmaps of shape (0,K,h,w) where `heatmap_size` is given."""
        joints = len(skeleton)
        heatmaps = None if heatmap_size is None else np.zeros((0, joints, *heatmap_size))
        return cls(np.zeros((0, joints, 2)), np.zeros((0, joints)), Detections.empty(), skeleton, heatmaps=heatmaps)

    def __len__(self) -> int:
        return len(self.detections)

    def __getitem__(self, index: Index) -> Poses:
        rows = _rows(index, len(self))
        return Poses(
            self.keypoints[rows],
            self.keypoint_scores[rows],
            self.detections[rows],
            self.skeleton,
            None if self.track_ids is None else self.track_ids[rows],
            None if self.heatmaps is None else self.heatmaps[rows],
            None if self.own_scores is None else self.own_scores[rows],
        )

    def __repr__(self) -> str:
        return f"Poses({self._counted()}, {self.skeleton.name}: scores {_short(self.scores)})"

    def _repr_html_(self) -> str:
        """A table for notebooks: a row a person."""
        ids = [""] * len(self) if self.track_ids is None else self.track_ids.tolist()
        scores = np.stack([self.scores, self.detections.scores, self.keypoint_scores.mean(1)], axis=1).tolist()
        rows = [[who, *three, *box] for who, three, box in zip(ids, scores, self.detections.xyxy.tolist(), strict=True)]
        heads = ["id", "score", "of the box", "of the keypoints", *_SIDES]
        return html_table(f"Poses: {self._counted()}, {self.skeleton.name}", heads, rows)

    def _counted(self) -> str:
        return f"{len(self)} {'person' if len(self) == 1 else 'people'}"

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,) `own_scores`, or else detection score times the mean keypoint score."""
        if self.own_scores is not None:
            return self.own_scores
        return self.detections.scores * self.keypoint_scores.mean(1)

    def replace(self, **fields: Any) -> Poses:
        """A copy with other values in some fields."""
        return evolve(self, **fields)

    def to_dict(self) -> list[dict[str, Any]]:
        """One dict a person, plain values, ready for json.

        `id` (or None), `score`, `box` (x1, y1, x2, y2 frame px), `box_score`, `keypoints`: name -> [x, y, score].
        """
        return [
            {
                "id": None if self.track_ids is None else int(self.track_ids[i]),
                "score": float(self.scores[i]),
                "box": self.detections.xyxy[i].tolist(),
                "box_score": float(self.detections.scores[i]),
                "keypoints": dict(zip(self.skeleton.keypoint_names, self._triples()[i].tolist(), strict=True)),
            }
            for i in range(len(self))
        ]

    def to_coco(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """COCO keypoint results, one dict a person: x, y, score a joint, in the skeleton's order."""
        return [
            {"image_id": image_id, "category_id": category_id, "keypoints": triples.ravel().tolist(), "score": score}
            for triples, score in zip(self._triples(), self.scores.tolist(), strict=True)
        ]

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a person: `id`, `score`, `x1`, `y1`, `x2`, `y2`, then `<joint>_x`, `<joint>_y`, `<joint>_score`.

        Needs pandas.
        """
        import pandas

        boxes = pandas.DataFrame(self.detections.xyxy, columns=_SIDES)
        boxes.insert(0, "score", self.scores)
        boxes.insert(0, "id", None if self.track_ids is None else self.track_ids)
        columns = [f"{name}_{part}" for name in self.skeleton.keypoint_names for part in ("x", "y", "score")]
        joints = pandas.DataFrame(self._triples().reshape(len(self), len(columns)), columns=columns)
        return pandas.concat([boxes, joints], axis=1)

    def to_supervision(self) -> supervision.KeyPoints:
        """The same for the `supervision` package, where that is installed."""
        import supervision

        return supervision.KeyPoints(
            xy=self.keypoints, confidence=self.keypoint_scores, class_id=self.detections.class_ids
        )

    def _triples(self) -> NDArray[np.float32]:
        """(N,K,3) x, y, score."""
        return np.concatenate([self.keypoints, self.keypoint_scores[..., None]], axis=2)


Found = TypeVar("Found", Detections, Poses)


def best(found: Found, most: int | None) -> Found:
    """Of people those with the highest scores, at most so many, in their order; None is all."""
    if most is None or len(found) <= most:
        return found
    return found[np.sort(np.argsort(-found.scores, kind="stable")[:most])]


def _short(scores: NDArray[np.float32]) -> str:
    shown = ", ".join(f"{score:.2f}" for score in scores[:4])
    return f"[{shown}{', ...' if len(scores) > 4 else ''}]"
