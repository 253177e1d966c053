"""What a pose network takes and gives, recorded once."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from attrs import field, frozen

from hrkit.errors import HrkitError
from hrkit.settings import SIDE, SIGMA
from hrkit.skeletons import coco17, find_skeleton
from hrkit.structures import Size, Skeleton

MARGIN = 1.25
"""How much larger than its box the official crop is."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def as_size(values: Iterable[int] | None) -> Size | None:
    """`values` as a tuple of whole numbers; None stays None."""
    return None if values is None else tuple(int(value) for value in values)  # type: ignore[return-value]  # checked


def checked_size(size: Any) -> Size:
    """(height, width) from two whole numbers of `SIDE` or the side of a square; raises `HrkitError` for others."""
    given = list(size) if isinstance(size, Iterable) and not isinstance(size, str) else [size, size]
    if len(given) != 2 or not all(isinstance(side, numbers.Integral) and int(side) in SIDE for side in given):
        raise HrkitError(f"a size is (height, width) in whole px {SIDE}, as (256, 192); got {size!r}")
    return int(given[0]), int(given[1])


def default_sigma(input_size: Size) -> float:
    """The official deviation of the Gaussians, heatmap px: 2 for inputs up to 256 px high, 3 for 384."""
    return 2.0 if input_size[0] <= 256 else 3.0


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _sigma(given: float | Iterable[float]) -> float | tuple[float, ...]:
    return _floats(given) if isinstance(given, Iterable) else given


def _deviates(sigma: float | tuple[float, ...]) -> bool:
    return len(sigma) == 2 and all(one in SIGMA for one in sigma) if isinstance(sigma, tuple) else sigma in SIGMA


@frozen(kw_only=True)
class PoseSpec:
    """Everything needed to cut a crop for a network and to decode its output.

    Every part of hrkit that records a network (weights entries, weights files, exported files, reports) records these
    values. Raises `HrkitError` for a value that makes no sense, `UnknownNameError` for an unknown skeleton.
    """

    skeleton: Skeleton = field(default=coco17, converter=find_skeleton)
    """The joints, in the order of the output; also given by the name of a known skeleton or a TOML file."""
    head: str | None = None
    """Registered name of the head; None is the backbone's default."""
    codec: str = "msra"
    """Registered name of the codec that reads the output."""
    sigma: float | tuple[float, float] = field(default=2.0, converter=_sigma)
    """Deviation of the training targets in cells of the network's output (heatmap px); or two, for x and y."""
    codec_options: Mapping[str, Any] = field(factory=dict, converter=dict, hash=False)
    """What the codec's builder takes beyond sizes and sigma, such as `kernel` of `dark`."""
    input_size: Size | None = field(default=None, converter=as_size)
    """(height, width) of the crops, px; None if no size is fixed."""
    margin: float = field(default=MARGIN, converter=float)
    """A crop is so many times as large as the box, once this has the aspect of the input."""
    mean: tuple[float, float, float] = field(default=IMAGENET_MEAN, converter=_floats)
    """The input is (pixel / 255 - mean) / std, each per channel in `channel_order`."""
    std: tuple[float, float, float] = field(default=IMAGENET_STD, converter=_floats)
    channel_order: str = "rgb"
    """"rgb" or "bgr"."""

    def __attrs_post_init__(self) -> None:
        for problem in self.problems():
            raise HrkitError(problem)

    def problems(self) -> list[str]:
        """What is wrong with the values, as sentences for a message; empty if they make sense."""
        size = self.input_size
        sound = size is None or (len(size) == 2 and all(side in SIDE for side in size))
        scaled = len(self.mean) == len(self.std) == 3 and min(self.std) > 0
        checks = {
            "codec is empty": self.codec,
            f"sigma must be {SIGMA}, or two such numbers for x and y, not {self.sigma}": _deviates(self.sigma),
            f"margin must be above 0 and at most 10, not {self.margin}": 0 < self.margin <= 10,
            f"input_size must be (height, width), each {SIDE}, not {size}": sound,
            "mean and std need three values each, and std must be above 0": scaled,
            f"channel_order must be rgb or bgr, not {self.channel_order!r}": self.channel_order in ("rgb", "bgr"),
        }
        return [problem for problem, right in checks.items() if not right]

    @property
    def num_joints(self) -> int:
        """The number of joints K."""
        return len(self.skeleton)

    def replaced(self, **values: Any) -> PoseSpec:
        """A plain `PoseSpec` that takes each of `values` that is not None, and keeps its own value otherwise."""
        own = {name: getattr(self, name) for name in attrs.fields_dict(PoseSpec)}
        return PoseSpec(**own | {name: value for name, value in values.items() if value is not None})

    def to_metadata(self) -> dict[str, Any]:
        """The values as plain data for a file, with the whole skeleton; `from_metadata` reads them again."""
        skeleton = attrs.asdict(self.skeleton) | {"sigmas": self.skeleton.sigmas.tolist()}
        values = {name: getattr(self, name) for name in attrs.fields_dict(PoseSpec) if name != "skeleton"}
        return {**values, "skeleton": skeleton}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> PoseSpec:
        """The values that `to_metadata` wrote; further keys are ignored.

        Raises `HrkitError` if a value is missing or makes no sense.
        """
        known = {"codec_options": {}, "margin": MARGIN, **metadata}  # older files do not have them
        try:
            values = {name: known[name] for name in attrs.fields_dict(PoseSpec)}
            return cls(**{**values, "skeleton": Skeleton(**values["skeleton"])})
        except KeyError as error:
            raise HrkitError(f"{error} is missing") from None
        except (TypeError, ValueError) as error:
            raise HrkitError(str(error)) from None
