"""A codec against the contract of `hrkit.hookspecs.register_decoders`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any  # what the codec under test gives may be of any type

import numpy as np
import torch
from numpy.typing import NDArray

from hrkit.errors import HrkitError
from hrkit.heads.codecs import Codec
from hrkit.testing.report import Check, Contract, Wrong
from hrkit.testing.threads import side_by_side

Builder = Callable[..., Any]
Size = tuple[int, int]

SIZE = (256, 192)
"""(height, width) of the input, px."""
SIZES = ((SIZE, 2.0), ((384, 288), 3.0))
"""Input sizes with sigma, heatmap px."""
CELL = 4
"""Crop px of a heatmap cell."""
INNER = 6
"""Cells from the border within which a round trip is held to half a cell; nearer the border, blurs see beyond it."""


def _codec(build: Builder, size: Size = SIZE, sigma: float = 2.0) -> Codec:
    codec = build(input_size=size, heatmap_size=(size[0] // CELL, size[1] // CELL), sigma=sigma)
    if not isinstance(codec, Codec):
        name = codec.__name__ if inspect.isclass(codec) else type(codec).__name__
        raise Wrong(f"it builds {name}, which is no subclass of hrkit.heads.codecs.Codec")
    return codec


def _points(size: Size = SIZE, people: int = 3) -> NDArray[np.float32]:
    """(N,17,2) crop px, away from the borders."""
    low, high = INNER * CELL, np.array([size[1], size[0]]) - (INNER + 1) * CELL
    return np.random.default_rng(0).uniform(low, high, (people, 17, 2)).astype(np.float32)


def _encode(codec: Codec, points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heatmaps and weights of points that are all labelled."""
    return codec.encode(points, np.ones(points.shape[:2], np.float32))


def _both_ways(codec: Codec, points: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Heatmaps and weights of points, keypoints and scores of the heatmaps."""
    heatmaps, weights = _encode(codec, points)
    return [heatmaps, weights, *codec.decode(heatmaps.copy())]


NAMES = ("heatmaps", "weights", "keypoints", "scores")


def _builds(build: Builder) -> None:
    _codec(build)


def _check_arrays(method: str, arrays: dict[str, tuple[Any, tuple[int, ...]]]) -> None:
    """Raises `Wrong` unless each is a finite float32 array of the shape beside it."""
    for name, (array, shape) in arrays.items():
        if not isinstance(array, np.ndarray):
            raise Wrong(f"for an array {method} makes {name} that are {type(array).__name__}")
        if array.shape != shape or array.dtype != np.float32:
            raise Wrong(f"{name} are {array.dtype} of shape {array.shape}, not float32 of {shape}")
        if not np.isfinite(array).all():
            raise Wrong(f"{name} hold NaN")


def _encodes(build: Builder) -> None:
    for size, sigma in SIZES:
        heatmaps, weights = _encode(_codec(build, size, sigma), _points(size))
        shape = (3, 17, size[0] // CELL, size[1] // CELL)
        _check_arrays("encode", {"heatmaps": (heatmaps, shape), "weights": (weights, (3, 17))})
        if (weights <= 0).any():
            raise Wrong("a labelled joint in the crop has no weight")


def _decodes(build: Builder) -> None:
    codec = _codec(build)
    keypoints, scores = codec.decode(_encode(codec, _points())[0])
    _check_arrays("decode", {"keypoints": (keypoints, (3, 17, 2)), "scores": (scores, (3, 17))})


def _round_trip(build: Builder) -> None:
    for size, sigma in SIZES:
        codec, points = _codec(build, size, sigma), _points(size)
        decoded = codec.decode(_encode(codec, points)[0])[0] * np.array(codec.decoded_scale)
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


def _scores_are_peaks(build: Builder) -> None:
    codec = _codec(build)
    heatmaps, _ = _encode(codec, _points())
    halved = codec.decode(heatmaps / 2)[1]
    if np.abs(halved - heatmaps.max((2, 3)) / 2).max() > 1e-3:
        raise Wrong(f"for peaks of {heatmaps.max() / 2:.3f} scores are {halved.ravel()[:3].round(3).tolist()}")


def _unlabelled(build: Builder) -> None:
    points = np.array([[[50, 50], [-5000, 50], [60, 60]]], np.float32)
    _, weights = _codec(build).encode(points, np.array([[1, 1, 0]], np.float32))
    if not (weights[0, 0] > 0 and weights[0, 1] == 0 and weights[0, 2] == 0):
        raise Wrong(f"weights of a joint, one far outside and one without a label are {weights[0].tolist()}")


def _nobody(build: Builder) -> None:
    codec = _codec(build)
    arrays: list[Any] = [np.zeros((0, *shape), np.float32) for shape in ((17, 2), (17,), (17, 64, 48))]
    for points, visible, maps in (arrays, map(torch.from_numpy, arrays)):  # a pipeline decodes tensors
        made = [*codec.encode(points, visible), *codec.decode(maps)]
        shapes = [tuple(values.shape) for values in made]
        if shapes != [(0, 17, 64, 48), (0, 17), (0, 17, 2), (0, 17)]:
            raise Wrong(f"for 0 people encode makes {shapes[0]} and {shapes[1]}, decode {shapes[2]} and {shapes[3]}")


def _flat(build: Builder) -> None:
    for value in (0.0, -0.5):
        keypoints, scores = _codec(build).decode(np.full((1, 2, 64, 48), value, np.float32))
        if not (np.isfinite(keypoints).all() and np.isfinite(scores).all()):
            raise Wrong(f"heatmaps that are {value} everywhere give NaN")


def _twice(build: Builder) -> None:
    codec, (points, others) = _codec(build), _points(people=2)[:, None]
    first, *again = (_both_ways(codec, points) for _ in range(3))  # two may be alike by chance
    _both_ways(codec, others)
    for results in (*again, _both_ways(codec, points)):
        for name, one, other in zip(NAMES, first, results, strict=True):
            if one.shape != other.shape or np.abs(one - other).max() > 1e-5:
                raise Wrong(f"{name} are different when made again")


def _tensors(build: Builder) -> None:
    codec, points = _codec(build), _points()
    heatmaps, weights = _encode(codec, points)
    tensors = codec.encode(torch.from_numpy(points), torch.ones(3, 17))
    _check_alike("encode", (heatmaps, weights), tensors)
    for layout in (torch.contiguous_format, torch.channels_last):  # networks make both
        _check_alike("decode", codec.decode(heatmaps), codec.decode(tensors[0].to(memory_format=layout)))


def _check_alike(method: str, arrays: Iterable[NDArray[Any]], tensors: Iterable[Any]) -> None:
    for array, tensor in zip(arrays, tensors, strict=True):
        if not torch.is_tensor(tensor):
            raise Wrong(f"for a tensor {method} makes {type(tensor).__name__}")
        if tensor.dtype != torch.float32 or tuple(tensor.shape) != array.shape:
            raise Wrong(f"for a tensor {method} makes {tensor.dtype} of shape {tuple(tensor.shape)}")
        if np.abs(array - tensor.numpy()).max() > 1e-3:
            raise Wrong(f"{method} makes other values for tensors than for arrays")


def _not_modified(build: Builder) -> None:
    codec, points, visible = _codec(build), _points(), np.ones((3, 17), np.float32)
    heatmaps = 1.5 * _encode(codec, points)[0] - np.float32(0.1)  # with values above 1 and below 0
    points[:2] += np.array([[[-1000]], [[1000]]], np.float32)  # outside
    visible[1:] = 0
    given: dict[str, Any] = {"keypoints": points, "visibility": visible, "heatmaps": heatmaps}
    for convert in (np.copy, torch.tensor):
        handed: list[Any] = [convert(values) for values in given.values()]
        codec.encode(*handed[:2])
        codec.decode(handed[2])
        for (name, before), after in zip(given.items(), handed, strict=True):
            if not np.array_equal(before, after):
                raise Wrong(f"the call changes the {name} it is given")


def _batch(build: Builder) -> None:
    for people in (3, 40):
        codec, points = _codec(build), _points(people=people)
        encoded = _encode(codec, points)
        heatmaps = encoded[0] * np.linspace(0.3, 1, people, dtype=np.float32)[:, None, None, None]
        together = [*encoded, *codec.decode(heatmaps)]
        for person in range(people):
            row = slice(person, person + 1)
            alone = [*_encode(codec, points[row]), *codec.decode(heatmaps[row])]
            for name, one, other in zip(NAMES, alone, together, strict=True):
                apart = np.abs(one - other[row]).max()
                if apart > 0.01:
                    raise Wrong(f"{name} alone and in a batch of {people} are {apart:.3g} apart")


def _threads(build: Builder) -> None:
    codec = _codec(build)
    maps = [_encode(codec, points[None])[0] for points in _points(people=2)]
    alone = [codec.decode(heatmaps)[0] for heatmaps in maps]
    again = side_by_side([functools.partial(codec.decode, heatmaps) for heatmaps in maps])
    for keypoints, (side, _) in zip(alone, again, strict=True):
        if keypoints.shape != side.shape or np.abs(keypoints - side).max() > 0.01:
            raise Wrong("decode gives other keypoints while another thread decodes")


def _other_sizes(build: Builder) -> None:
    try:
        _codec(build).decode(np.zeros((1, 17, 32, 24), np.float32))
    except HrkitError:
        return
    raise Wrong("heatmaps of another size than heatmap_size are decoded without an error")


CONTRACT = Contract(
    "decoder",
    (
        Check("it is a codec", _builds, "build a subclass of hrkit.heads.codecs.Codec", vital=True),
        Check("encode (N,K,2) -> (N,K,h,w), (N,K)", _encodes, "make float32 arrays of heatmap_size", vital=True),
        Check("decode (N,K,h,w) -> (N,K,2), (N,K)", _decodes, "make float32 arrays, x before y", vital=True),
        Check("same result twice", _twice, "keep nothing between calls, and let chance decide nothing", vital=True),
        Check("round trip within half a cell", _round_trip, "let decode undo encode, between crop px and heatmaps"),
        Check("scores are the peaks", _scores_are_peaks, "give the highest value of each heatmap as it is"),
        Check("unlabelled joints have no weight", _unlabelled, "give weight 0 to joints without a label or outside"),
        Check("nobody", _nobody, "treat 0 people as an ordinary batch, both ways"),
        Check("nothing above zero", _flat, "give some finite place if there is no peak"),
        Check("arrays in arrays out, tensors in tensors out", _tensors, "see hrkit.structures: as_tensor and like"),
        Check("nothing is modified", _not_modified, "work on copies"),
        Check("a batch is its people alone", _batch, "let no person depend on the others"),
        Check("threads", _threads, "share no buffer between calls, which may come from several threads at once"),
        Check("heatmaps of another size", _other_sizes, "raise hrkit.HrkitError for them"),
    ),
)

check_decoder = CONTRACT.check
"""`check_decoder(build, *, part="decoder")`: what is wrong with a builder of codecs.

`build` is called with `input_size`, `heatmap_size` and `sigma`.
"""
examine_decoder = CONTRACT.examine
