"""The values that flow through hrkit: detections, crops, skeletons and poses. All are frozen and checked when built.

Shapes: N people, K keypoints, (H, W) a frame or crop, (h, w) a heatmap. Points are (x, y). *Frame px* are pixels of the
picture, *crop px* those of the network's input; the centre of the upper left pixel is (0, 0) in both.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from attrs import asdict, evolve, field, frozen
from attrs.converters import optional
from numpy.typing import ArrayLike, NDArray

from hrkit.errors import BoxError, HrkitError, UnknownNameError, counted, installed

if TYPE_CHECKING:
    import pandas
    import supervision
    import torch

Size = tuple[int, int]
"""(height, width)."""
Frame = NDArray[np.uint8]
"""A picture: (H, W, 3) BGR."""
Index = int | slice | Sequence[int] | NDArray[Any]  # Any: integers of any kind, or a mask
Row = dict[str, Any]  # Any: plain values, as JSON has them
Found = TypeVar("Found", "Detections", "Poses")
_Rows = TypeVar("_Rows", "Detections", "Crops", "Poses")

_OF_FRAME = ("skeleton", "image", "time", "frame_index")  # fields that have no rows
_SIDES = ("x1", "y1", "x2", "y2")


def frozen_float32(values: ArrayLike) -> NDArray[np.float32]:
    """A read-only copy."""
    return _frozen(values, np.float32)


def frozen_float64(values: ArrayLike) -> NDArray[np.float64]:
    """A read-only copy."""
    return _frozen(values, np.float64)


def frozen_int64(values: ArrayLike) -> NDArray[np.int64]:
    """A read-only copy."""
    return _frozen(values, np.int64)


def _frozen(values: ArrayLike, dtype: type) -> NDArray[Any]:  # Any: `dtype`
    try:
        array: NDArray[Any] = np.array(values, dtype)
    except OverflowError:
        raise HrkitError("a number is too large") from None
    array.flags.writeable = False
    return array


def _frozen_boxes(values: ArrayLike) -> NDArray[np.float32]:
    return frozen_float32(values if np.size(values) else np.zeros((0, 4)))


def _float32(given: Any, wanted: str) -> NDArray[np.float32]:  # Any: an ArrayLike, a tensor or an iterator
    """An array of numbers. Raises `BoxError` that says what is `wanted`."""
    try:
        given = given.detach().cpu() if hasattr(given, "detach") and hasattr(given, "cpu") else given  # a tensor
        if isinstance(given, Iterable) and not isinstance(given, Sequence) and not hasattr(given, "__array__"):
            given = list(given)
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which is refused
            return np.asarray(given, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise BoxError(f"{wanted} ({error})") from None


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def _name_pairs(pairs: Iterable[Iterable[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((a, b) for a, b in pairs)


def _expect(name: str, array: NDArray[np.generic] | None, *shape: int | None) -> None:
    if array is not None and (
        array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True))
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {array.shape}, wanted ({wanted})")


def check_boxes(xyxy: NDArray[np.floating], name: str = "boxes", area: bool = False) -> None:
    """Raises `BoxError` unless `xyxy` is (N,4), finite, and not inverted. The message names the first wrong row.

    With `area` each box must also have an area.
    """
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise BoxError(f"{name} must have shape (N, 4): x1, y1, x2, y2 in frame px; got {xyxy.shape}")
    for wrong, what in (
        (~np.isfinite(xyxy).all(1), "is not finite"),
        ((xyxy[:, 2:] < xyxy[:, :2]).any(1), "is inverted (x2 < x1 or y2 < y1); are these x, y, width, height?"),
        (area & (xyxy[:, 2:] <= xyxy[:, :2]).any(1), "has no area (x2 = x1 or y2 = y1)"),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            raise BoxError(f"{name}: row {row} {what}: {xyxy[row].tolist()}")


def _rows(value: _Rows, index: Index) -> _Rows:
    """The indexed rows of each field; a single row keeps its axis."""
    wanted = list(index) if isinstance(index, Sequence) else index  # numpy takes a tuple for several axes
    rows = np.atleast_1d(np.arange(len(value))[wanted])
    columns = asdict(value, recurse=False, filter=lambda a, column: a.name not in _OF_FRAME and column is not None)
    return evolve(value, **{name: column[rows] for name, column in columns.items()})


@frozen(eq=False, repr=False)
class Detections:
    """Boxes around people (or other things) in one frame.

    Raises `BoxError` for boxes that are NaN or inverted, `ValueError` for fields of unequal length.
    """

    xyxy: NDArray[np.float32] = field(converter=_frozen_boxes)
    """(N,4) left, top, right, bottom, frame px."""
    scores: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,) confidence of the detector."""
    class_ids: NDArray[np.int64] = field(converter=frozen_int64)
    """(N,) class in the detector's own list; 0 is person."""

    def __attrs_post_init__(self) -> None:
        check_boxes(self.xyxy)
        _expect("scores", self.scores, len(self.xyxy))
        _expect("class_ids", self.class_ids, len(self.xyxy))

    @classmethod
    def empty(cls) -> Detections:
        """No boxes."""
        return cls([], [], [])

    @classmethod
    def from_boxes(cls, xyxy: ArrayLike, scores: ArrayLike | None = None) -> Detections:
        """People from (N,4) boxes in frame px: numbers, a tensor or an iterator; an empty list is none.

        With their (N,) `scores` the best come first; without, each has score 1. Raises `BoxError` for anything else.
        """
        boxes = _float32(xyxy, "boxes must be numbers of shape (N, 4): x1, y1, x2, y2 in frame px")
        count = boxes.shape[:1]
        if scores is None:
            return cls(boxes, np.ones(count), np.zeros(count))
        sure = _float32(scores, "scores must be numbers of shape (N,)")
        if sure.shape != count:
            raise BoxError(f"scores have shape {sure.shape}, wanted {count}, one for each box")
        best_first = np.argsort(-sure, kind="stable")
        return cls(boxes[best_first], sure[best_first], np.zeros(count))

    __getitem__ = _rows

    def __len__(self) -> int:
        return len(self.xyxy)

    def __repr__(self) -> str:
        return f"Detections({len(self)}: scores {_short(self.scores)})"

    def _repr_html_(self) -> str:
        return str(_drawing("notebooks:boxes_html")(self))

    @property
    def areas(self) -> NDArray[np.float32]:
        """(N,) box areas, frame px squared."""
        return (self.xyxy[:, 2] - self.xyxy[:, 0]) * (self.xyxy[:, 3] - self.xyxy[:, 1])

    def to_dict(self) -> list[Row]:
        """One dict per box, ready for JSON: `box` (x1, y1, x2, y2), `score`, `class_id`."""
        rows = zip(self.xyxy.tolist(), self.scores.tolist(), self.class_ids.tolist(), strict=True)
        return [{"box": box, "score": score, "class_id": class_id} for box, score, class_id in rows]

    def to_coco(self, image_id: int, category_id: int = 1) -> list[Row]:
        """COCO detection results, one dict per box, with boxes as x, y, width, height."""
        sides = np.concatenate([self.xyxy[:, :2], self.xyxy[:, 2:] - self.xyxy[:, :2]], axis=1)
        return [
            {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}
            for box, score in zip(sides.tolist(), self.scores.tolist(), strict=True)
        ]

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per box: `score`, `class_id`, `x1`, `y1`, `x2`, `y2`. Needs pandas."""
        sides = dict(zip(_SIDES, self.xyxy.T, strict=True))
        return _table({"score": self.scores, "class_id": self.class_ids, **sides})

    def to_supervision(self) -> supervision.Detections:
        """The same boxes for the `supervision` package. Needs that package."""
        given = {"xyxy": self.xyxy, "confidence": self.scores, "class_id": self.class_ids}
        found: supervision.Detections = installed("supervision", "to_supervision").Detections(**given)
        return found


@frozen(eq=False, repr=False)
class Crops:
    """People cut out of frames, ready for the pose network. Raises `ValueError` for fields of unequal length."""

    images: torch.Tensor
    """(N,3,H,W) float32, normalised, in the network's channel order."""
    to_frame: NDArray[np.float32] = field(converter=frozen_float32)
    """(N,2,3) affine maps from the crop px that the codec decodes to frame px."""

    def __attrs_post_init__(self) -> None:
        _expect("to_frame", self.to_frame, len(self.images), 2, 3)

    @classmethod
    def empty(cls, input_size: Size) -> Crops:
        """No people, for a network of `input_size`."""
        import torch

        return cls(torch.zeros(0, 3, *input_size), np.zeros((0, 2, 3)))

    __getitem__ = _rows

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"Crops{tuple(self.images.shape)}"


@frozen
class Skeleton:
    """The joints of a body and their relations.

    Raises `ValueError` for a repeated name, a pair with an unknown name, a wrong number of sigmas, or one that is not
    above 0.
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
        if not ((self.sigmas > 0) & np.isfinite(self.sigmas)).all():
            raise ValueError(f"skeleton {self.name!r} has sigmas that are not above 0: {self.sigmas.tolist()}")
        for name in (name for pair in self.edges + self.flip_pairs for name in pair):
            self.index(name)

    def __len__(self) -> int:
        return len(self.keypoint_names)

    def index(self, name: str) -> int:
        """The index of a keypoint. Raises `UnknownNameError` with the closest names."""
        if name not in self.keypoint_names:
            raise UnknownNameError("keypoint", str(name), self.keypoint_names)
        return self.keypoint_names.index(name)

    @property
    def edge_indices(self) -> NDArray[np.int64]:
        """(E,2) `edges` as indices."""
        return np.array([[self.index(a), self.index(b)] for a, b in self.edges], np.int64).reshape(-1, 2)

    @property
    def flip_indices(self) -> NDArray[np.int64]:
        """(K,) the index that each joint has in the mirrored picture."""
        others = dict(self.flip_pairs) | {right: left for left, right in self.flip_pairs}
        return np.array([self.index(others.get(name, name)) for name in self.keypoint_names], np.int64)


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
    """N boxes, one per person: the one their crop was made from."""
    skeleton: Skeleton
    track_ids: NDArray[np.int64] | None = field(default=None, converter=optional(frozen_int64))
    """(N,) the person's id over time, or None."""
    heatmaps: NDArray[np.float32] | None = field(default=None, converter=optional(frozen_float32))
    """(N,K,h,w) if they were asked for, or None."""
    own_scores: NDArray[np.float32] | None = field(default=None, converter=optional(frozen_float32))
    """(N,) the network's own score of each person, or None if it gives none."""
    image: Any = None
    """The picture they were found in, as it was given to `Pipeline.__call__` or `predict`; others give None."""
    time: float | None = None
    """Seconds from the start of the video, if it is one."""
    frame_index: int | None = None
    """The number of the frame of the video, from 0."""

    def __attrs_post_init__(self) -> None:
        people, joints = len(self.detections), len(self.skeleton)
        _expect("keypoints", self.keypoints, people, joints, 2)
        _expect("keypoint_scores", self.keypoint_scores, people, joints)
        _expect("track_ids", self.track_ids, people)
        _expect("heatmaps", self.heatmaps, people, joints, None, None)
        _expect("own_scores", self.own_scores, people)

    @classmethod
    def empty(cls, skeleton: Skeleton, heatmap_size: Size | None = None) -> Poses:
        """No people; with heatmaps of shape (0,K,h,w) if `heatmap_size` is given."""
        joints = len(skeleton)
        heatmaps = None if heatmap_size is None else np.zeros((0, joints, *heatmap_size))
        return cls(np.zeros((0, joints, 2)), np.zeros((0, joints)), Detections.empty(), skeleton, heatmaps=heatmaps)

    __getitem__ = _rows

    def __len__(self) -> int:
        return len(self.detections)

    def __repr__(self) -> str:
        return f"Poses({counted(len(self), 'person', 'people')}, {self.skeleton.name}: scores {_short(self.scores)})"

    def _repr_html_(self) -> str:
        return str(_drawing("notebooks:people_html")(self))

    @property
    def scores(self) -> NDArray[np.float32]:
        """(N,) `own_scores` if there are any, else detection score times mean keypoint score."""
        with np.errstate(over="ignore", invalid="ignore"):  # huge scores
            product = self.detections.scores * self.keypoint_scores.mean(1)
        return product if self.own_scores is None else self.own_scores

    def replace(self, **changes: Any) -> Poses:  # Any: the types of the fields
        """A copy with other values in some fields."""
        return evolve(self, **changes)

    def plot(self, image: Any = None, **style: Any) -> Frame:
        """The picture they were found in, or another, with its people, (H,W,3) BGR. Raises `HrkitError` if it has none.

        `style`: `color_by` "side" or "person", `boxes` and `heatmaps`, whether they are drawn.
        """
        return np.asarray(_drawing("people:plot")(self, image, **style))

    def show(self, image: Any = None, **style: Any) -> None:
        """Shows what `plot` gives in the system's viewer, or in a notebook. Raises `HrkitError` if there is none."""
        _drawing("people:show")(self, image, **style)

    def save(self, path: str | os.PathLike[str], image: Any = None, **style: Any) -> None:
        """Writes what `plot` gives as `images.write_image` does. Raises as both."""
        _drawing("people:save")(self, path, image, **style)

    def crops(self, image: Any = None, *, margin: float = 0.0) -> list[Frame]:
        """The picture in the box of each person, grown by `margin` of its sides. Raises as `plot`."""
        return list(_drawing("people:crops")(self, image, margin))

    def angles(self, first: str, middle: str, last: str, *, threshold: float = 0.2) -> NDArray[np.float64]:
        """(N,) degrees from 0 to 180 at the joint `middle`, between the lines to `first` and `last` in the picture.

        It is NaN where one of the three is missing or scores below `threshold`. Raises `UnknownNameError`.
        """
        places = [self.skeleton.index(name) for name in (first, middle, last)]
        points = self.keypoints[:, places].astype(np.float64)
        (x, y), (u, v) = ((points[:, end] - points[:, 1]).T for end in (0, 2))
        seen = (self.keypoint_scores[:, places] >= threshold).all(1) & (np.hypot(x, y) * np.hypot(u, v) > 0)
        return np.where(seen, np.degrees(np.abs(np.arctan2(x * v - y * u, x * u + y * v))), np.nan)

    def to_dict(self) -> list[Row]:
        """One dict per person, ready for JSON.

        `id` (or None), `score`, `box` (x1, y1, x2, y2 frame px), `box_score`, `keypoints`: name -> [x, y, score].
        """
        names = self.skeleton.keypoint_names
        ids = [None] * len(self) if self.track_ids is None else self.track_ids.tolist()
        columns = (ids, self.scores.tolist(), self.detections.to_dict(), self._triples().tolist())
        return [
            {"id": track_id, "score": score, "box": found["box"], "box_score": found["score"]}
            | {"keypoints": dict(zip(names, triples, strict=True))}
            for track_id, score, found, triples in zip(*columns, strict=True)
        ]

    def to_coco(self, image_id: int, category_id: int = 1) -> list[Row]:
        """COCO keypoint results, one dict per person: x, y, score of each joint, in the skeleton's order."""
        return [
            {"image_id": image_id, "category_id": category_id, "keypoints": triples.ravel().tolist(), "score": score}
            for triples, score in zip(self._triples(), self.scores.tolist(), strict=True)
        ]

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per person: `id`, `score`, `x1`, `y1`, `x2`, `y2`, then `<joint>_x`, `<joint>_y`, `<joint>_score`.

        Before these are `image`, if the picture has a name, and `frame` and `time` of a video. Ids are whole numbers
        (`Int64`), and `pandas.NA` for a person without one. Needs pandas.
        """
        names = (*_SIDES, *(f"{name}_{part}" for name in self.skeleton.keypoint_names for part in ("x", "y", "score")))
        values = np.concatenate([self.detections.xyxy, *self._triples().swapaxes(0, 1)], axis=1)
        found = np.full(len(self), -1) if self.track_ids is None else self.track_ids
        ids = installed("pandas", "to_dataframe").Series(found, dtype="Int64").mask(found < 0)
        name = str(self.image) if isinstance(self.image, (str, os.PathLike)) else None
        known = {"image": name, "frame": self.frame_index, "time": self.time}
        origin = {column: [value] * len(self) for column, value in known.items() if value is not None}
        return _table({**origin, "id": ids, "score": self.scores, **dict(zip(names, values.T, strict=True))})

    def to_supervision(self) -> supervision.KeyPoints:
        """The same people for the `supervision` package, version 0.29 or newer.

        The scores of the boxes are its `detection_confidence`. `data` has `xyxy`, the boxes, and `tracker_id`, the ids,
        if there are any. Joints that are missing are at 0, 0 and not `visible`. Needs that package.
        """
        seen: NDArray[np.bool_] = np.asarray(np.isfinite(self.keypoints).all(2))
        ids = {} if self.track_ids is None else {"tracker_id": self.track_ids}
        people: supervision.KeyPoints = installed("supervision", "to_supervision").KeyPoints(
            xy=np.where(seen[..., None], self.keypoints, 0),
            class_id=self.detections.class_ids,
            keypoint_confidence=self.keypoint_scores,
            detection_confidence=self.detections.scores,
            visible=seen,
            data={"xyxy": self.detections.xyxy, **ids},
        )
        return people

    def _triples(self) -> NDArray[np.float32]:
        """(N,K,3) x, y, score."""
        return np.concatenate([self.keypoints, self.keypoint_scores[..., None]], axis=2)


def best(found: Found, most: int | None) -> Found:
    """The `most` highest-scoring rows in their order; all rows if `most` is None."""
    rows = np.sort(np.argsort(-found.scores, kind="stable")[:most])
    return found if most is None or len(found) <= most else found[rows]


def _drawing(name: str) -> Callable[..., Any]:  # Any: what the function gives
    """A function of the room `drawing`; named by a string, since that room is built on this module."""
    return pkgutil.resolve_name(f"hrkit.drawing.{name}")


def _table(columns: Row) -> pandas.DataFrame:
    table: pandas.DataFrame = installed("pandas", "to_dataframe").DataFrame(columns)
    return table


def _short(scores: NDArray[np.float32]) -> str:
    shown = ", ".join(f"{score:.2f}" for score in scores[:4])
    return f"[{shown}{', ...' if len(scores) > 4 else ''}]"
