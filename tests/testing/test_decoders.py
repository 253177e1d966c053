"""The kit finds what is wrong with codecs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hrkit.heads.codecs import DarkCodec, MSRACodec
from hrkit.testing import check_decoder, describe


class NoCodec:
    def __init__(self, **options):
        pass


class TakesNoSigma(DarkCodec):
    def __init__(self, *, input_size, heatmap_size):
        super().__init__(input_size=input_size, heatmap_size=heatmap_size, sigma=2)


class HeatmapPx(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        return keypoints / 4, scores


class HeightFirst(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        return keypoints[..., [1, 0]], scores


class Transposed(MSRACodec):
    def encode(self, keypoints, visible):
        heatmaps, weights = super().encode(keypoints, visible)
        return heatmaps.swapaxes(2, 3), weights


class ACellOff(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        return keypoints + 4, scores


class Float64(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        return keypoints.astype(np.float64) if isinstance(keypoints, np.ndarray) else keypoints.double(), scores


class NobodyThere(MSRACodec):
    def decode(self, heatmaps):
        with np.errstate(invalid="ignore"):
            return super().decode(heatmaps / heatmaps.max())


class Normalised(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        with np.errstate(invalid="ignore"):
            return keypoints, scores / scores.max() if len(scores) else scores


class AlwaysArrays(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        return np.asarray(keypoints), np.asarray(scores)


class ClearsHeatmaps(MSRACodec):
    def decode(self, heatmaps):
        result = super().decode(heatmaps)
        heatmaps[:] = 0
        return result


class ClampsHeatmaps(MSRACodec):
    """In place, which shows only where something is below 0."""

    def decode(self, heatmaps):
        result = super().decode(heatmaps)
        heatmaps.clip(min=0, out=heatmaps)
        return result


class ClearsVisibility(MSRACodec):
    """In place, of joints outside."""

    def encode(self, keypoints, visible):
        visible[(keypoints < 0).any(-1)] = 0
        return super().encode(keypoints, visible)


class ClampsTensors(MSRACodec):
    def decode(self, heatmaps):
        return super().decode(heatmaps.clamp_(min=0) if torch.is_tensor(heatmaps) else heatmaps)


class ByChance(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        noise = torch.rand(*keypoints.shape) / 100
        return keypoints + (noise if torch.is_tensor(keypoints) else noise.numpy()), scores


class Remembers(MSRACodec):
    """The last person is in the next one's heatmaps."""

    last = 0.0

    def encode(self, keypoints, visible):
        heatmaps, weights = super().encode(keypoints, visible)
        added, self.last = self.last, 1e-3 * float(keypoints.sum()) if len(keypoints) else 0.0
        return heatmaps + added, weights


class NoTensorsOfNobody(MSRACodec):
    def decode(self, heatmaps):
        if torch.is_tensor(heatmaps) and len(heatmaps) == 0:
            raise IndexError("argmax of nothing")
        return super().decode(heatmaps)


class DoubleTensors(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        return (keypoints.double() if torch.is_tensor(keypoints) else keypoints), scores


class OneLayout(MSRACodec):
    def decode(self, heatmaps):
        return super().decode(heatmaps.view(-1).view(heatmaps.shape) if torch.is_tensor(heatmaps) else heatmaps)


class EightAtMost(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        keypoints[8:] = 0
        return keypoints, scores


class TargetsOfTheBatch(MSRACodec):
    def encode(self, keypoints, visible):
        heatmaps, weights = super().encode(keypoints, visible)
        return heatmaps * (1 - 0.1 * (len(keypoints) == 1)), weights


class EveryJointCounts(MSRACodec):
    def encode(self, keypoints, visible):
        heatmaps, weights = super().encode(keypoints, visible)
        return heatmaps, weights * 0 + 1


class ShiftOfTheBatch(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        return keypoints + 0.5 * len(keypoints), scores


class SharedBuffer(MSRACodec):
    def decode(self, heatmaps):
        self.heatmaps = heatmaps
        count = len(self.heatmaps)
        return super().decode(self.heatmaps[:count])


class AnySize(MSRACodec):
    def decode(self, heatmaps):
        if heatmaps.shape[2:] != self.heatmap_size:
            heatmaps = np.zeros((*heatmaps.shape[:2], *self.heatmap_size), np.float32)
        return super().decode(heatmaps)


class LogOfNothing(MSRACodec):
    def decode(self, heatmaps):
        keypoints, scores = super().decode(heatmaps)
        empty = heatmaps.max() <= 0 if len(heatmaps) else False
        return (keypoints * np.float32("nan") if empty else keypoints), scores


ROUND_TRIP = "round trip within half a cell"
FAULTS = {
    NoCodec: "it is a codec",
    TakesNoSigma: "it is a codec",
    HeatmapPx: ROUND_TRIP,
    HeightFirst: ROUND_TRIP,
    ACellOff: ROUND_TRIP,
    Transposed: "encode (N,K,2) -> targets, (N,K)",
    Float64: "decode -> (N,K,2), (N,K)",
    NobodyThere: "nobody",
    Normalised: "scores are the peaks",
    AlwaysArrays: "arrays in arrays out, tensors in tensors out",
    ClearsHeatmaps: "arrays are not modified",
    ClampsHeatmaps: "arrays are not modified",
    ClampsTensors: "inputs are not modified",
    ClearsVisibility: "arrays are not modified",
    ByChance: "same result twice",
    Remembers: "same result twice",
    NoTensorsOfNobody: "nobody",
    DoubleTensors: "arrays in arrays out, tensors in tensors out",
    OneLayout: "any memory format",
    EightAtMost: "a batch is its people alone",
    TargetsOfTheBatch: "a batch is its people alone",
    EveryJointCounts: "unlabelled joints have no weight",
    ShiftOfTheBatch: "a batch is its people alone",
    SharedBuffer: "threads",
    AnySize: "heatmaps of another size",
    LogOfNothing: "nothing above zero",
}


@pytest.mark.parametrize(("broken", "check"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(broken: type, check: str) -> None:
    findings = check_decoder(broken)
    assert check in [finding.check for finding in findings], describe(findings)


@pytest.mark.parametrize(("broken", "frame"), [(HeatmapPx, "heatmap px, not crop px"), (HeightFirst, "y, x, not x, y")])
def test_the_wrong_frame_is_named(broken: type, frame: str) -> None:
    (problem,) = [finding.problem for finding in check_decoder(broken) if finding.check == ROUND_TRIP]
    assert problem == f"decoded points are {frame}"


def test_sound_codecs_pass() -> None:
    assert check_decoder(MSRACodec) == []
    assert check_decoder(DarkCodec) == []
