"""The kit finds what is wrong with runtimes."""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest
import torch
from torch import nn

from hrkit.errors import HrkitError
from hrkit.testing import check_runtime, describe, examine_runtime


class Sound(nn.Module):
    """PyTorch itself, in float32."""

    def __init__(self, *, network: Any, example: Any, precision: Any) -> None:
        super().__init__()
        if precision not in ("auto", "float32"):
            raise HrkitError(f"this runtime computes in float32, not in {precision}")
        self.network = copy.deepcopy(network)

    def forward(self, images: Any) -> Any:
        return self.network(images)


class NoModule:
    def __init__(self, **options):
        pass


class TakesNoPrecision(Sound):
    def __init__(self, *, network, example):
        super().__init__(network=network, example=example, precision="auto")


class ForgetsABias(Sound):
    def __init__(self, **options):
        super().__init__(**options)
        nn.init.zeros_(self.network.last.bias)


class OneAtATime(Sound):
    def forward(self, images):
        return super().forward(images.reshape(1, 3, 64, 48))


class OneLayout(Sound):
    def forward(self, images):
        return super().forward(images.view(-1).view(images.shape))


class HalfResults(Sound):
    def forward(self, images):
        return super().forward(images).half()


class Lists(Sound):
    def forward(self, images):
        return [super().forward(images)]


class NobodyThere(Sound):
    def forward(self, images):
        if not len(images):
            raise RuntimeError("empty input")
        return super().forward(images)


class InPlace(Sound):
    def forward(self, images):
        result = super().forward(images)
        images.zero_()
        return result


class OneBuffer(Sound):
    """The next result is written over the last."""

    def __init__(self, **options):
        super().__init__(**options)
        self.buffer = torch.zeros(8, 17, 16, 12)

    def forward(self, images):
        return self.buffer[: len(images)].copy_(super().forward(images))


class TakesTheNetwork(Sound):
    """Halves what it was lent."""

    def __init__(self, *, network, **options):
        super().__init__(network=network, **options)
        network.bfloat16()


class Trains(Sound):
    def __init__(self, *, network, **options):
        super().__init__(network=network, **options)
        network.train()


class Spoils(Sound):
    def __init__(self, *, network, **options):
        super().__init__(network=network, **options)
        nn.init.zeros_(network.last.weight)


class RaisesImportError(Sound):
    def __init__(self, **options):
        importlib.import_module("colorsys")
        super().__init__(**options)


class TwoLines(Sound):
    def __init__(self, *, precision, **options):
        if precision == "bfloat16":
            raise OSError("no bfloat16\n  at line 1")
        super().__init__(precision=precision, **options)


BUILT, SAME, STAYS = "it is built", "it gives what the network gives", "the network stays as it is"
FAULTS = {
    NoModule: BUILT,
    TakesNoPrecision: BUILT,
    TwoLines: BUILT,
    ForgetsABias: SAME,
    OneAtATime: SAME,
    OneLayout: SAME,
    HalfResults: SAME,
    Lists: SAME,
    NobodyThere: "nobody",
    InPlace: "inputs are not modified",
    OneBuffer: "results stay",
    TakesTheNetwork: STAYS,
    Trains: STAYS,
    Spoils: STAYS,
    RaisesImportError: "what it needs is missing",
}


@pytest.mark.parametrize(("broken", "check"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found(broken: type, check: str) -> None:
    findings = check_runtime(broken, needs=["colorsys"])
    assert check in [finding.check for finding in findings], describe(findings)


def test_a_sound_runtime_passes() -> None:
    findings = list(examine_runtime(Sound))
    assert [finding.check for finding in findings if finding.verdict != "ok"] == ["what it needs is missing"]
    assert check_runtime(Sound) == []


def test_what_cannot_be_built_in_words_is_not_judged() -> None:
    def build(**options: Any) -> Any:
        raise HrkitError("not installed: a library")

    (finding,) = (one for one in examine_runtime(build) if one.verdict != "ok")
    assert (finding.verdict, finding.problem) == ("not judged", "it cannot be built here: not installed: a library")


def test_what_is_missing_in_words_is_right() -> None:
    def build(**options: Any) -> Any:
        try:
            importlib.import_module("colorsys")
        except ImportError:
            raise HrkitError("not installed: colorsys") from None
        return Sound(**options)

    verdicts = {finding.check: finding.verdict for finding in examine_runtime(build, needs=["colorsys"])}
    assert set(verdicts.values()) == {"ok"}
    assert importlib.import_module("colorsys").rgb_to_hsv
