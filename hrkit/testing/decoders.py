"""A codec against the contract of `hrkit.hookspecs.register_decoders`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from hrkit.errors import HrkitError
from hrkit.heads.codecs import Codec
from hrkit.testing.report import Check, Finding, Wrong, examine, wrong
from hrkit.testing.threads import side_by_side

SIZES = (((256, 192), 2.0), ((384, 288), 3.0))
"""Of the input, (height, width) px, and sigma, heatmap px."""
CELL = 4
"""Crop px of a heatmap cell."""
INNER = 6
"""Cells from a border where a round trip is held to half a cell: nearer, blurs see what is beyond."""


def check_decoder(build: Callable[..., Any], *, part: str = "decoder") -> list[Finding]:
    """What is wrong with a builder of codecs; an empty list if nothing is.

    `build` is called with `input_size`, `heatmap_size` and `sigma`. `part` is what findings call it.
    """
    return wrong(examine_decoder(build, part=part))


def examine_decoder(build: Callable[..., Any], *, part: str = "decoder") -> Iterator[Finding]:
    """As `check_decoder`, with what is right too, each as soon as it is known."""
    yield from examine(part, _Trial(build), CHECKS)


@frozen(eq=False)
class _Trial:
    """A codec's builder."""

    build: Callable[..., Any]

    def codec(self, size: tuple[int, int] = (256, 192), sigma: float = 2.0) -> Codec:
        """A codec for inputs of `size`."""
        heatmap_size = (size[0] // CELL, size[1] // CELL)
        codec = self.build(input_size=size, heatmap_size=heatmap_size, sigma=sigma)
        if not isinstance(codec, Codec):
            name = codec.__name__ if inspect.isclass(codec) else type(codec).__name__
            raise Wrong(f"it builds {name}, which is no subclass of hrkit.heads.codecs.Codec")
        return codec

    def points(self, size: tuple[int, int] = (256, 192), people: int = 3) -> NDArray[np.float32]:
        """(N,17,2) crop px, off the borders."""
        low, high = INNER * CELL, np.array([size[1], size[0]]) - (INNER + 1) * CELL
        return np.random.default_rng(0).uniform(low, high, (people, 17, 2)).astype(np.float32)


def _builds(trial: _Trial) -> None:
    trial.codec()


def _encode(codec: Codec, points: NDArray[np.float32]) -> NDArray[np.float32]:
    return codec.encode(points, np.ones(points.shape[:2], np.float32))[0]


def _encodes(trial: _Trial) -> None:
    for size, sigma in SIZES:
        codec, points = trial.codec(size, sigma), trial.points(size)
        heatmaps, weights = codec.encode(points, np.ones((3, 17), np.float32))
        for what, array, wanted in (
            ("heatmaps", heatmaps, (3, 17, size[0] // CELL, size[1] // CELL)),
            ("weights", weights, (3, 17)),
        ):
            if not isinstance(array, np.ndarray):
                raise Wrong(f"of an array encode makes {what} that are {type(array).__name__}")
            if array.shape != wanted or array.dtype != np.float32:
                raise Wrong(f"{what} are {array.dtype} of shape {array.shape}, not float32 of {wanted}")
            if not np.isfinite(array).all():
                raise Wrong(f"{what} hold NaN")
        if (weights <= 0).any():
            raise Wrong("a labelled joint in the crop has no weight")


def _decodes(trial: _Trial) -> None:
    codec = trial.codec()
    keypoints, scores = codec.decode(_encode(codec, trial.points()))
    for what, array, wanted in (("keypoints", keypoints, (3, 17, 2)), ("scores", scores, (3, 17))):
        if not isinstance(array, np.ndarray):
            raise Wrong(f"of an array decode makes {what} that are {type(array).__name__}")
        if array.shape != wanted or array.dtype != np.float32:
            raise Wrong(f"{what} are {array.dtype} of shape {array.shape}, not float32 of {wanted}")
        if not np.isfinite(array).all():
            raise Wrong(f"{what} hold NaN")


def _round_trip(trial: _Trial) -> None:
    for size, sigma in SIZES:
        codec, points = trial.codec(size, sigma), trial.points(size)
        decoded = codec.decode(_encode(codec, points))[0] * np.array(codec.decoded_scale)
        error = float(np.abs(decoded - points).max())
        if error <= CELL / 2 + 1e-3:
            continue
        for name, other in (
            ("heatmap px, not crop px", decoded * CELL),
            ("y, x, not x, y", decoded[..., ::-1]),
            ("shares of the crop, not crop px", decoded * [size[1], size[0]]),
        ):
            if np.abs(other - points).max() <= 1.5 * CELL:
                raise Wrong(f"decoded points are {name}")
        raise Wrong(f"a point comes back {error:.2f} crop px away, more than half a cell of {CELL}")


def _scores_are_peaks(trial: _Trial) -> None:
    codec = trial.codec()
    heatmaps = _encode(codec, trial.points())
    halved = codec.decode(heatmaps / 2)[1]
    if np.abs(halved - heatmaps.max((2, 3)) / 2).max() > 1e-3:
        raise Wrong(f"of peaks {heatmaps.max() / 2:.3f} scores are {halved.ravel()[:3].round(3).tolist()}")


def _unlabelled(trial: _Trial) -> None:
    points = np.array([[[50, 50], [-5000, 50], [60, 60]]], np.float32)
    _, weights = trial.codec().encode(points, np.array([[1, 1, 0]], np.float32))
    if not (weights[0, 0] > 0 and weights[0, 1] == 0 and weights[0, 2] == 0):
        raise Wrong(f"weights of a joint, one far outside and one without a label are {weights[0].tolist()}")


def _nobody(trial: _Trial) -> None:
    codec = trial.codec()
    arrays: list[Any] = [np.zeros((0, *shape), np.float32) for shape in ((17, 2), (17,), (17, 64, 48))]
    for points, visible, maps in (arrays, map(torch.from_numpy, arrays)):  # a pipeline decodes tensors
        heatmaps, weights = codec.encode(points, visible)
        if heatmaps.shape != (0, 17, 64, 48) or weights.shape != (0, 17):
            raise Wrong(f"of 0 people encode makes {tuple(heatmaps.shape)} and {tuple(weights.shape)}")
        keypoints, scores = codec.decode(maps)
        if keypoints.shape != (0, 17, 2) or scores.shape != (0, 17):
            raise Wrong(f"of 0 people decode makes {tuple(keypoints.shape)} and {tuple(scores.shape)}")


def _flat(trial: _Trial) -> None:
    for value in (0.0, -0.5):
        keypoints, scores = trial.codec().decode(np.full((1, 2, 64, 48), value, np.float32))
        if not (np.isfinite(keypoints).all() and np.isfinite(scores).all()):
            raise Wrong(f"heatmaps that are {value} everywhere give NaN")


def _twice(trial: _Trial) -> None:
    codec, (points, others) = trial.codec(), trial.points(people=2)[:, None]
    first = [_both_ways(codec, points) for _ in range(3)]  # two alone may be alike by chance
    _both_ways(codec, others)
    for again in (*first[1:], _both_ways(codec, points)):
        for what, one, other in zip(("encode", "encode", "decode", "decode"), first[0], again, strict=True):
            if one.shape != other.shape or np.abs(one - other).max() > 1e-5:
                raise Wrong(f"{what} gives something else when called again")


def _both_ways(codec: Codec, points: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Heatmaps and weights of the points, keypoints and scores of the heatmaps."""
    encoded = codec.encode(points, np.ones(points.shape[:2], np.float32))
    return [*encoded, *codec.decode(encoded[0].copy())]


def _tensors(trial: _Trial) -> None:
    codec, points = trial.codec(), trial.points()
    arrays = codec.encode(points, np.ones((3, 17), np.float32))
    tensors = codec.encode(torch.from_numpy(points), torch.ones(3, 17))
    _alike("encode", arrays, tensors)
    for layout in (torch.contiguous_format, torch.channels_last):  # networks make both
        _alike("decode", codec.decode(arrays[0]), codec.decode(tensors[0].to(memory_format=layout)))


def _alike(what: str, arrays: Sequence[NDArray[Any]], tensors: Sequence[Any]) -> None:
    for array, tensor in zip(arrays, tensors, strict=True):
        if not torch.is_tensor(tensor):
            raise Wrong(f"of a tensor {what} makes {type(tensor).__name__}")
        if tensor.dtype != torch.float32 or tuple(tensor.shape) != array.shape:
            raise Wrong(f"of a tensor {what} makes {tensor.dtype} of shape {tuple(tensor.shape)}")
        if np.abs(array - tensor.numpy()).max() > 1e-3:
            raise Wrong(f"{what} makes other values of tensors than of arrays")


def _not_modified(trial: _Trial) -> None:
    codec, points, visible = trial.codec(), trial.points(), np.ones((3, 17), np.float32)
    heatmaps = 1.5 * _encode(codec, points) - np.float32(0.1)  # above 1, and below 0
    points[:2] += np.array([[[-1000]], [[1000]]], np.float32)  # outside
    visible[1:] = 0
    given: dict[str, Any] = {"keypoints": points, "visibility": visible, "heatmaps": heatmaps}
    for convert in (np.copy, torch.tensor):
        handed: list[Any] = [convert(values) for values in given.values()]
        codec.encode(*handed[:2])
        codec.decode(handed[2])
        for (what, before), after in zip(given.items(), handed, strict=True):
            if not np.array_equal(before, after):
                raise Wrong(f"{what} that are given have other values afterwards")


def _batch(trial: _Trial) -> None:
    for people in (3, 40):
        codec, points = trial.codec(), trial.points(people=people)
        visible = np.ones((people, 17), np.float32)
        encoded = codec.encode(points, visible)
        heatmaps = encoded[0] * np.linspace(0.3, 1, people, dtype=np.float32)[:, None, None, None]
        together = [*encoded, *codec.decode(heatmaps)]
        for person in range(people):
            row = slice(person, person + 1)
            alone = [*codec.encode(points[row], visible[row]), *codec.decode(heatmaps[row])]
            for what, one, other in zip(("heatmaps", "weights", "keypoints", "scores"), alone, together, strict=True):
                apart = np.abs(one - other[row]).max()
                if apart > 0.01:
                    raise Wrong(f"{what} alone and in a batch of {people} are {apart:.3g} apart")


def _threads(trial: _Trial) -> None:
    codec = trial.codec()
    maps = [_encode(codec, points[None]) for points in trial.points(people=2)]
    alone = [codec.decode(heatmaps)[0] for heatmaps in maps]
    again = side_by_side([functools.partial(codec.decode, heatmaps) for heatmaps in maps])
    for keypoints, (side, _) in zip(alone, again, strict=True):
        if keypoints.shape != side.shape or np.abs(keypoints - side).max() > 0.01:
            raise Wrong("decode gives other keypoints while another thread decodes")


def _other_sizes(trial: _Trial) -> None:
    try:
        trial.codec().decode(np.zeros((1, 17, 32, 24), np.float32))
    except HrkitError:
        return
    raise Wrong("heatmaps of another size than heatmap_size are decoded without a word")


CHECKS: tuple[Check[_Trial], ...] = (
    Check("it is a codec", _builds, "build a subclass of hrkit.heads.codecs.Codec", vital=True),
    Check("encode (N,K,2) -> (N,K,h,w), (N,K)", _encodes, "make float32 arrays of heatmap_size", vital=True),
    Check("decode (N,K,h,w) -> (N,K,2), (N,K)", _decodes, "make float32 arrays, x before y", vital=True),
    Check("same result twice", _twice, "keep nothing between calls, and take out what depends on chance", vital=True),
    Check(
        "round trip within half a cell", _round_trip, "encode and decode between crop px and heatmaps, both ways alike"
    ),
    Check("scores are the peaks", _scores_are_peaks, "give the highest value of each heatmap as it is"),
    Check("unlabelled joints have no weight", _unlabelled, "give weight 0 to what has no label or lies outside"),
    Check("nobody", _nobody, "0 people are an ordinary batch, both ways"),
    Check("nothing above zero", _flat, "give some finite place where there is no peak"),
    Check("arrays in arrays out, tensors in tensors out", _tensors, "see hrkit.structures: as_tensor and like"),
    Check("nothing is modified", _not_modified, "work on copies"),
    Check("a batch is its people alone", _batch, "let no person depend on the others"),
    Check("threads", _threads, "share no buffer between calls, which may come from several threads at once"),
    Check("heatmaps of another size", _other_sizes, "raise hrkit.HrkitError for them"),
)
