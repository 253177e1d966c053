"""`runtime="auto"` takes the fastest way only for a clear gain, remembers it, and survives whatever is broken."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hrkit.errors import HrkitError, PluginError
from hrkit.runtimes import choice, converted, prepare

EXAMPLE = torch.zeros(1, 3, 8, 8)
CPU = torch.device("cpu")


class Clock:
    """A time that passes only while networks compute."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Takes(nn.Module):
    """Takes some seconds for one input, and some per input of a larger batch."""

    def __init__(self, clock: Clock, single: float, each: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, (single, each)

    def forward(self, images: Tensor) -> Tensor:
        self.clock.now += self.seconds[0] if len(images) == 1 else len(images) * self.seconds[1]
        return images


@pytest.fixture(autouse=True)
def warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hrkit")  # commands that ran before in this process also show what is less


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    clock = Clock()
    monkeypatch.setattr(choice.time, "perf_counter", clock)
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    return clock


def choose(clock: Clock, **seconds: tuple[float, float] | Exception) -> tuple[nn.Module, list[str]]:
    """The choice among ways, and the names of the ways that were built."""
    built = []

    def way(name: str) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            built.append(name)
            took = seconds[name]
            if isinstance(took, Exception):
                raise took
            return Takes(clock, *took)

        return build

    found = choice.fastest(nn.Conv2d(3, 3, 1), EXAMPLE, "float32", {name: way(name) for name in seconds})
    return found, built


@pytest.mark.parametrize(
    ("fused", "other", "expected"),
    [
        ((0.01, 0.01), (0.0097, 0.0097), ("fused", "fused")),  # a gain of 3 % may be noise
        ((0.01, 0.01), (0.0095, 0.0095), ("onnx", "onnx")),
        ((0.01, 0.01), (0.005, 0.005), ("onnx", "onnx")),
        ((0.01, 0.01), (0.005, 0.0098), ("onnx", "fused")),
        ((0.01, 0.01), (0.02, 0.005), ("fused", "onnx")),
        ((2.0, 2.0), (1.0, 9.0), ("onnx", "onnx")),  # too slow for a batch of several
    ],
)
def test_a_way_is_left_only_for_a_clear_gain(
    clock: Clock, fused: tuple[float, float], other: tuple[float, float], expected: tuple[str, str]
) -> None:
    found, _ = choose(clock, fused=fused, onnx=other)
    ((key, chosen),) = choice.remembered().items()
    assert (chosen.single, chosen.several) == expected
    assert isinstance(found, choice.BySize) == (expected[0] != expected[1])
    again, built = choose(clock, fused=(9.0, 9.0), onnx=(0.1, 0.1))  # other times are not measured again
    assert set(built) == set(expected)
    assert list(choice.remembered()) == [key]
    assert again(EXAMPLE.expand(2, 3, 8, 8)).shape == (2, 3, 8, 8)


def test_the_fastest_of_three_and_no_more_than_three_in_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[set[str]] = []
    faster = choice._faster
    monkeypatch.setattr(choice, "_faster", lambda ways, *args: (alive.append(set(ways)), faster(ways, *args))[1])
    choose(clock, fused=(0.1, 0.1), openvino=(0.08, 0.08), onnx=(0.05, 0.09))
    (chosen,) = choice.remembered().values()
    assert (chosen.single, chosen.several) == ("onnx", "openvino")
    assert alive == [{"fused", "openvino"}, {"fused", "openvino"}, {"openvino", "onnx"}, {"openvino", "onnx"}]
    assert set(chosen.milliseconds["1"]) == {"fused", "openvino", "onnx"}


def test_one_rival_is_tried_for_a_large_network(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "LARGE", 40)
    _, built = choose(clock, fused=(0.1, 0.1), openvino=HrkitError("too new"), onnx=(0.05, 0.09), other=(0.01, 0.01))
    assert built == ["fused", "openvino", "onnx"]
    (chosen,) = choice.remembered().values()
    assert chosen.left_out == {"openvino": "too new", "other": "not tried for a large network"}


def test_measuring_ends(clock: Clock) -> None:
    choose(clock, fused=(0.05, 0.03), onnx=(0.04, 0.03))
    assert clock.now < choice.SECONDS + 0.5


def test_what_does_not_work_is_left_out(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    found, _ = choose(clock, fused=(1.0, 1.0), onnx=HrkitError("too new"), openvino=PluginError("broken here"))
    assert isinstance(found, Takes)
    assert [record.message for record in caplog.records] == ["openvino does not work (broken here); it is left out"]
    (chosen,) = choice.remembered().values()
    assert chosen.left_out == {"onnx": "too new", "openvino": "broken here"}
    assert "onnx left out: too new" in str(chosen)


def test_what_breaks_later_is_replaced(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    choose(clock, fused=(1.0, 1.0), onnx=(0.1, 0.1))
    found, built = choose(clock, fused=(7.0, 1.0), onnx=ImportError("gone since then"))
    assert built == ["onnx", "fused"]
    assert isinstance(found, Takes)
    assert found.seconds == (7.0, 1.0)
    assert caplog.messages == ["onnx does not work (gone since then); networks run fused"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": {"network": 1}}', "\0"])
def test_a_damaged_memory_is_written_anew(clock: Clock, content: str) -> None:
    converted.folder().mkdir(parents=True)
    path = converted.folder() / "choices.json"
    path.write_text(content)
    assert choice.remembered() == {}
    choose(clock, fused=(1.0, 1.0), onnx=(0.1, 0.1))
    assert len(json.loads(path.read_text())) == 1


def test_another_architecture_size_or_version_is_another_network() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    same = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    print_of = converted.fingerprint
    assert print_of(network, values=False) == print_of(same, values=False)
    assert print_of(network) != print_of(same)
    assert print_of(network) == print_of(network) != print_of(network, "1.2")
    other = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU6())
    strided = nn.Sequential(nn.Conv2d(3, 3, 1, stride=2), nn.ReLU())
    assert len({print_of(one, values=False) for one in (network, other, strided)}) == 3


def test_kept_files_are_whole_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    assert converted.read("a.onnx") is None
    converted.keep("a.onnx", b"12345")
    assert converted.read("a.onnx") == b"12345"
    path = converted.folder() / "a.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"6")
    assert converted.read("a.onnx") is None
    monkeypatch.setattr(converted, "MOST_BYTES", 40)
    converted.keep("b.onnx", b"67890")
    assert [file.name for file in converted.folder().iterdir()] == ["b.onnx"]


class Scaled(nn.Module):
    """A network of any size, with a factor that no layer shows."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.conv = factor, nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * self.conv(images)


def test_a_conversion_is_compared_with_the_network() -> None:
    network = Scaled(1.0)
    example = torch.zeros(1, 3, 64, 64)
    converted.check_same(network, network, example)
    wrong = Scaled(1.2)
    wrong.conv = network.conv
    with pytest.raises(HrkitError, match=r"differs from PyTorch by 2\.0e-01"):
        converted.check_same(wrong, network, example)
    with pytest.raises(HrkitError, match="does not run"):
        converted.check_same(nn.Conv2d(4, 3, 1), network, example)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "openvino"])
@torch.inference_mode()
def test_auto_with_real_runtimes(
    name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is made once, another factor is another network, and a broken package costs a line."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(name, name))
    monkeypatch.setenv("HRKIT_MEASURE", "1")
    monkeypatch.setattr(choice, "RIVALS", (name,))
    monkeypatch.setattr(choice, "_faster", lambda ways, known, rival, images, limit: (rival, {known: 2.0, rival: 1.0}))
    network, example, images = Scaled(2.0).eval(), torch.zeros(1, 3, 64, 64), torch.rand(3, 3, 32, 96)
    first = prepare.prepare(network, example, CPU, "float32")
    assert not list(first.parameters())
    (kept,) = (path for path in converted.folder().iterdir() if path.suffix == f".{name}")
    made = kept.read_bytes()
    second = prepare.prepare(network, example, CPU, "float32")
    assert torch.equal(first(images), second(images))
    torch.testing.assert_close(first(images), network(images), rtol=1e-4, atol=1e-5)
    assert kept.read_bytes() == made
    fused = prepare.prepare(network, example, CPU, "float32", runtime="fused")
    assert list(fused.buffers())
    network.factor = 3.0
    other = prepare.prepare(network, example, CPU, "float32")
    torch.testing.assert_close(other(images), network(images), rtol=1e-4, atol=1e-5)
    monkeypatch.setitem(sys.modules, {"onnx": "onnxruntime"}.get(name, name), None)
    assert list(prepare.prepare(network, example, CPU, "float32").buffers())
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("networks run fused")


def test_nothing_is_measured_when_it_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.rivals() == []
    monkeypatch.setenv("HRKIT_MEASURE", "1")
    monkeypatch.setattr(converted, "version", lambda package: "")
    assert choice.rivals() == []
    monkeypatch.setattr(converted, "version", lambda package: "1.0")
    assert choice.rivals() == ["openvino", "onnx"]
