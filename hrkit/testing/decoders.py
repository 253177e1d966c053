"""A codec against the contract of `hrkit.hookspecs.register_decoders`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any  # the codec under test may give anything

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor

from hrkit.errors import HrkitError
from hrkit.heads.base import Codec
from hrkit.heads.codecs import HeatmapCodec
from hrkit.ops.tensors import parts_of
from hrkit.structures import Size
from hrkit.testing import modules
from hrkit.testing.report import Checking, Contract, Examining, NotJudged, Wrong, expect
from hrkit.testing.threads import side_by_side

SIZE = (256, 192)
"""(height, width) of the input, px."""
SIZES = ((SIZE, 2.0), ((384, 288), 3.0))
"""Input sizes with sigma, heatmap px."""
CELL = 4
"""Crop px of a heatmap cell."""
INNER = 6
"""Cells from the border within which a round trip is held to half a cell; nearer the border, blurs see beyond it."""


@frozen(eq=False, slots=False)
class _Trial(modules.Network):
    """A builder of codecs. As a network, a codec encodes points, and decodes what was encoded before."""

    build: Callable[..., Any]
    batch_share = 5e-5

    def codec(self, size: Size = SIZE, sigma: float = 2.0) -> Any:
        codec = self.build(input_size=size, heatmap_size=(size[0] // CELL, size[1] // CELL), sigma=sigma)
        name = getattr(codec, "__name__", type(codec).__name__)
        expect(isinstance(codec, Codec), f"it builds {name}, which is no subclass of hrkit.heads.base.Codec")
        return codec

    def heatmap_codec(self) -> Any:
        codec = self.codec()
        expect(isinstance(codec, HeatmapCodec), "it decodes no heatmaps", NotJudged)
        return codec

    @functools.cached_property
    def module(self) -> Any:
        return self.codec()

    def given(self, people: int, seed: int = 0) -> list[Tensor]:
        """Points, some of them outside; their visibility; outputs of a network, for each person less sure."""
        points = torch.from_numpy(_points(people=people, seed=seed))
        outputs, _ = _encode(self.module, points)
        sure = torch.linspace(1, 0.3, people)
        outputs = [1.5 * sure.view(-1, *[1] * (one.ndim - 1)) * one - 0.1 for one in parts_of(outputs)]
        points[1:2] -= 1000
        points[2:3] += 1000
        return [points, torch.ones(points.shape[:2]), *outputs]

    def call(self, module: Any, given: list[Tensor]) -> list[Tensor]:
        return [modules.tensor(values) for values in _code(module, given)]


def _points(size: Size = SIZE, people: int = 3, seed: int = 0) -> NDArray[np.float32]:
    """(N,17,2) crop px, away from the borders."""
    low, high = INNER * CELL, np.array([size[1], size[0]]) - (INNER + 1) * CELL
    return np.random.default_rng(seed).uniform(low, high, (people, 17, 2)).astype(np.float32)


def _encode(codec: Any, points: Any) -> tuple[Any, Any]:
    """Outputs and weights of points that are all labelled."""
    return codec.encode(points, 0 * points[..., 0] + 1)


def _code(codec: Any, given: Sequence[Any]) -> list[Any]:
    """Targets, weights, keypoints and scores for points, their visibility, and what a network gave."""
    points, visible, *outputs = given
    targets, weights = codec.encode(points, visible)
    return [*parts_of(targets), weights, *codec.decode(outputs[0] if len(outputs) == 1 else tuple(outputs))]


CONTRACT: Contract = Contract("decoder", _Trial)


@CONTRACT.rule("it is a codec", "build a subclass of hrkit.heads.base.Codec", vital=True)
def _builds(trial: _Trial) -> None:
    trial.codec()


def _check_array(method: str, name: str, array: Any, shape: tuple[int, ...]) -> None:
    """Raises `Wrong` unless it is a finite float32 array whose shape begins with `shape`."""
    expect(isinstance(array, np.ndarray), f"for an array {method} makes {name} that are {type(array).__name__}")
    right = array.shape[: len(shape)] == shape and array.dtype == np.float32
    expect(right, f"{name} are {array.dtype} of shape {array.shape}, not float32 of {shape}")
    expect(np.isfinite(array).all(), f"{name} hold NaN")


@CONTRACT.rule("encode (N,K,2) -> targets, (N,K)", "make float32 arrays, such as (N,K,h,w)", vital=True)
def _encodes(trial: _Trial) -> None:
    for size, sigma in SIZES:
        codec = trial.codec(size, sigma)
        outputs, weights = _encode(codec, _points(size))
        heatmaps = (17, size[0] // CELL, size[1] // CELL) if isinstance(codec, HeatmapCodec) else ()
        for one in parts_of(outputs):
            _check_array("encode", "targets", one, (3, *heatmaps))
        _check_array("encode", "weights", weights, (3, 17))
        expect((weights > 0).all(), "a labelled joint in the crop has no weight")


@CONTRACT.rule("decode -> (N,K,2), (N,K)", "make float32 arrays, x before y", vital=True)
def _decodes(trial: _Trial) -> None:
    codec = trial.codec()
    keypoints, scores = codec.decode(_encode(codec, _points())[0])
    _check_array("decode", "keypoints", keypoints, (3, 17, 2))
    _check_array("decode", "scores", scores, (3, 17))


@CONTRACT.rule("round trip within half a cell", "let decode undo encode, between crop px and heatmaps")
def _round_trip(trial: _Trial) -> None:
    for size, sigma in SIZES:
        codec, points = trial.codec(size, sigma), _points(size)
        decoded = codec.decode(_encode(codec, points)[0])[0] * np.array(codec.decoded_scale)
        error = float(np.abs(decoded - points).max())
        if error <= CELL / 2 + 1e-3:
            continue
        for name, other in (
            ("heatmap px, not crop px", decoded * CELL),
            ("y, x, not x, y", decoded[..., ::-1]),
            ("shares of the crop, not crop px", decoded * [size[1], size[0]]),
        ):
            expect(np.abs(other - points).max() > 1.5 * CELL, f"decoded points are {name}")
        raise Wrong(f"a point comes back {error:.2f} crop px away, more than half a cell of {CELL}")


@CONTRACT.rule("scores are the peaks", "give the highest value of each heatmap as it is")
def _scores_are_peaks(trial: _Trial) -> None:
    codec = trial.heatmap_codec()
    heatmaps, _ = _encode(codec, _points())
    halved = codec.decode(heatmaps / 2)[1]
    said = f"for peaks of {heatmaps.max() / 2:.3f} scores are {halved.ravel()[:3].round(3).tolist()}"
    expect(np.abs(halved - heatmaps.max((2, 3)) / 2).max() <= 1e-3, said)


@CONTRACT.rule("unlabelled joints have no weight", "give weight 0 to joints without a label or outside")
def _unlabelled(trial: _Trial) -> None:
    points = np.array([[[50, 50], [-5000, 50], [60, 60]]], np.float32)
    weights = trial.codec().encode(points, np.array([[1, 1, 0]], np.float32))[1][0]
    said = f"weights of a joint, one far outside and one without a label are {weights.tolist()}"
    expect(weights[0] > 0 and weights[1] == 0 and weights[2] == 0, said)


@CONTRACT.rule("nothing above zero", "give some finite place if there is no peak")
def _flat(trial: _Trial) -> None:
    for value in (0.0, -0.5):
        decoded = trial.heatmap_codec().decode(np.full((1, 2, 64, 48), value, np.float32))
        expect(all(np.isfinite(values).all() for values in decoded), f"heatmaps that are {value} everywhere give NaN")


@CONTRACT.rule("arrays in arrays out, tensors in tensors out", "see hrkit.structures: as_tensor and like")
def _arrays(trial: _Trial) -> None:
    codec = trial.codec()
    for people in (3, 0):
        tensors = trial.given(people)
        made = _code(codec, [values.numpy().copy() for values in tensors])
        for array, tensor in zip(made, trial.call(codec, tensors), strict=True):
            expect(isinstance(array, np.ndarray), f"for arrays it makes {type(array).__name__}")
            said = f"for tensors it makes {tensor.dtype} of {tuple(tensor.shape)}, for arrays {array.shape}"
            expect(tensor.dtype == torch.float32 and tuple(tensor.shape) == array.shape, said)
            apart = np.abs(array - tensor.numpy()).max(initial=0)
            expect(apart <= 1e-3, "it makes other values for tensors than for arrays")


@CONTRACT.rule("any memory format", "networks make contiguous and channels_last tensors")
def _layouts(trial: _Trial) -> None:
    codec = trial.heatmap_codec()
    heatmaps = trial.given(3)[2]
    same = codec.decode(heatmaps.to(memory_format=torch.channels_last))
    modules.same(list(codec.decode(heatmaps)), list(same), "contiguous and in channels_last")


@CONTRACT.rule("arrays are not modified", "work on copies")
def _not_modified(trial: _Trial) -> None:
    given = [values.numpy() for values in trial.given(3)]
    given[1][2:] = 0
    before = [values.copy() for values in given]
    _code(trial.codec(), given)
    expect(all(map(np.array_equal, before, given)), "the values of an array are changed by the call")


CONTRACT.checks.extend(modules.RESULTS.checks)


@CONTRACT.rule("threads", "share no buffer between calls, which may come from several threads at once")
def _threads(trial: _Trial) -> None:
    codec = trial.codec()
    maps = [_encode(codec, points[None])[0] for points in _points(people=2)]
    alone = [codec.decode(heatmaps)[0] for heatmaps in maps]
    again = side_by_side([functools.partial(codec.decode, heatmaps) for heatmaps in maps])
    for keypoints, (side, _) in zip(alone, again, strict=True):
        same = keypoints.shape == side.shape and np.abs(keypoints - side).max() <= 0.01
        expect(same, "decode gives other keypoints while another thread decodes")


@CONTRACT.rule("heatmaps of another size", "raise hrkit.HrkitError for them")
def _other_sizes(trial: _Trial) -> None:
    try:
        trial.heatmap_codec().decode(np.zeros((1, 17, 32, 24), np.float32))
    except HrkitError:
        return
    raise Wrong("heatmaps of another size than heatmap_size are decoded without an error")


check_decoder: Checking = CONTRACT.check
"""`check_decoder(build, *, part="decoder")`: what is wrong with a builder of codecs.

`build` is called with `input_size`, `heatmap_size` and `sigma`.
"""
examine_decoder: Examining = CONTRACT.examine
