"""Which batches are replayed and which are not, and that both give the same; captures are made by a stand-in."""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hrkit import create_pose_model
from hrkit.runtimes.cuda_graphs import WARM_UPS, CudaCapture, CudaGraphs, Replay

pytestmark = pytest.mark.usefixtures("one_thread")


class Captures:
    """As graphs do on a GPU: the network runs on one piece of memory, and its output always lies in another."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.inputs: list[Tensor] = []
        self.replays = 0

    def __call__(self, network: nn.Module, images: Tensor) -> Replay:
        self.inputs.append(images)
        heatmaps = network(images)

        def replay() -> Tensor:
            self.replays += 1
            return heatmaps.copy_(network(images))

        return replay

    @property
    def sizes(self) -> list[int]:
        return [len(images) for images in self.inputs]


class Recorder:
    """Makes `Captures`, and remembers them."""

    def __init__(self) -> None:
        self.made: list[Captures] = []

    def __call__(self, device: torch.device) -> Captures:
        self.made.append(Captures(device))
        return self.made[-1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Recorder:
        return self

    @property
    def last(self) -> Captures:
        return self.made[-1]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 1)).eval()


def graphs(max_batch_size: int = 8) -> tuple[CudaGraphs, Recorder]:
    recorder = Recorder()
    return CudaGraphs(network(), max_batch_size=max_batch_size, capture=recorder), recorder


def people(count: int, side: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (24, (1, 2, 4, 8, 16, 24)), (32, (1, 2, 4, 8, 16, 32))],
)
def test_sizes_double_up_to_the_largest_batch(most: int, sizes: tuple[int, ...]) -> None:
    assert CudaGraphs(network(), max_batch_size=most).sizes == sizes


@pytest.mark.slow
@settings(max_examples=25)
@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=8), most=st.integers(1, 9))
def test_whatever_came_before_a_batch_gives_what_the_network_gives(counts: list[int], most: int) -> None:
    module, recorder = graphs(most)
    batches = [people(count, seed=seed) for seed, count in enumerate(counts)]
    results = [module(batch) for batch in batches]
    for batch, result in zip(batches, results, strict=True):  # all of them now, as later batches may not change earlier
        torch.testing.assert_close(result, module.network(batch), rtol=1e-5, atol=1e-6)
    replayed = [count for count in counts if 1 <= count <= most]
    assert sum(captures.replays for captures in recorder.made) == len(replayed)
    wanted = {min(size for size in module.sizes if size >= count) for count in replayed}
    assert sorted(size for captures in recorder.made for size in captures.sizes) == sorted(wanted)


def test_a_graph_is_captured_once_and_when_first_needed() -> None:
    module, recorder = graphs()
    assert recorder.made == []
    for count in (3, 4, 1, 4, 3, 8):
        module(people(count))
    assert len(recorder.made) == 1
    assert recorder.last.sizes == [4, 1, 8]
    assert recorder.last.replays == 6
    assert recorder.last.device == torch.device("cpu")


def test_graphs_share_one_input_in_the_layout_of_the_first_batch() -> None:
    module, recorder = graphs()
    module(people(3).contiguous(memory_format=torch.channels_last))
    module(people(8))
    assert len({images.data_ptr() for images in recorder.last.inputs}) == 1
    for images in recorder.last.inputs:
        assert images.is_contiguous(memory_format=torch.channels_last)
    module, recorder = graphs()
    module(people(3))
    assert recorder.last.inputs[0].is_contiguous()


def test_other_batches_go_to_the_network() -> None:
    module, recorder = graphs()
    module(people(2))
    for other in (people(9), people(0), people(2, side=6)):
        torch.testing.assert_close(module(other), module.network(other))
    with pytest.raises(RuntimeError):  # as the network has it
        module(people(2).double())
    assert recorder.last.replays == 1
    assert recorder.last.sizes == [2]


def test_training_and_gradients_go_to_the_network() -> None:
    module, recorder = graphs()
    with torch.enable_grad():
        assert module(people(2)).requires_grad
    module.train()
    module(people(2))
    assert recorder.made == []
    module.eval()
    module(people(2))
    assert recorder.last.replays == 1


def test_in_and_out_of_inference_mode() -> None:
    module, recorder = graphs()
    wanted = module.network(people(3))
    with torch.inference_mode():
        torch.testing.assert_close(module(people(3)), wanted)
    torch.testing.assert_close(module(people(3)), wanted)
    with torch.inference_mode():
        torch.testing.assert_close(module(people(3)), wanted)
    assert recorder.last.replays == 3


def test_new_weights_in_place_are_seen() -> None:
    module, recorder = graphs()
    before = module(people(2))
    module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()})
    after = module(people(2))
    torch.testing.assert_close(after, module.network(people(2)))
    assert (after - before).abs().max() > 0.1
    assert recorder.last.sizes == [2]


def test_moved_it_captures_anew() -> None:
    module, recorder = graphs()
    module(people(2))
    nn.Sequential(module).to(torch.float64)
    result = module(people(2).double())
    assert result.dtype == torch.float64
    assert [captures.replays for captures in recorder.made] == [1, 1]


def test_a_copy_has_graphs_of_its_own() -> None:
    module, recorder = graphs()
    before = module(people(2))
    twin = copy.deepcopy(module)
    nn.init.zeros_(module.network[0].weight)  # type: ignore[index]
    torch.testing.assert_close(twin(people(2)), before)
    assert [captures.replays for captures in recorder.made] == [1, 1]
    assert twin.state_dict().keys() == module.state_dict().keys()


def test_what_cannot_be_captured_runs_as_it_is_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(network: nn.Module, images: Tensor) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    module = CudaGraphs(network(), capture=lambda device: refuse)
    with caplog.at_level(logging.WARNING, logger="hrkit"):
        for count in (2, 3):
            torch.testing.assert_close(module(people(count)), module.network(people(count)))
    assert [record.message for record in caplog.records] == [
        "Sequential runs without CUDA graphs: operation not permitted when stream is capturing"
    ]


def test_without_a_gpu_the_network_runs_as_it_is() -> None:
    module = CudaGraphs(network())
    torch.testing.assert_close(module(people(2)), module.network(people(2)))


def test_a_pose_model_gives_its_heatmaps() -> None:
    model = create_pose_model("synthetic").eval()
    module = CudaGraphs(model, max_batch_size=4, capture=Captures)
    images = people(3, side=64)
    torch.testing.assert_close(module(images), model(images), rtol=1e-4, atol=1e-5)


def test_a_capture_warms_up_on_its_own_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """What PyTorch's notes on CUDA graphs ask for, in order; of CUDA itself there is only what it is called with."""
    events: list[str] = []

    def stream(name: str) -> Any:
        return SimpleNamespace(name=name, wait_stream=lambda other: events.append(f"{name} waits for {other.name}"))

    @contextlib.contextmanager
    def within(event: str) -> Iterator[None]:
        events.append(f"{event}: begin")
        yield
        events.append(f"{event}: end")

    main, side, pool = stream("main"), stream("side"), object()
    capture = mock.create_autospec(torch.cuda.graph, side_effect=lambda graph, **_: within("capture"))
    replayed = mock.Mock()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: side)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: pool)
    monkeypatch.setattr(torch.cuda, "device", lambda device: within(str(device)))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: within(stream.name))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: replayed)
    monkeypatch.setattr(torch.cuda, "graph", capture)

    class Told(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            events.append("network")
            return images + 1

    record = CudaCapture(torch.device("cpu"))
    replay = record(Told(), people(2))
    assert events == [
        "cpu: begin",
        "side waits for main",
        *("side: begin", *["network"] * WARM_UPS, "side: end"),
        "main waits for side",
        *("capture: begin", "network", "capture: end"),
        "cpu: end",
    ]
    torch.testing.assert_close(replay(), people(2) + 1)
    replayed.replay.assert_called_once_with()
    record(Told(), people(1))
    for call in capture.call_args_list:
        assert call.kwargs == {"pool": pool, "stream": side, "capture_error_mode": "thread_local"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_graphs_on_a_gpu_give_what_the_network_gives() -> None:
    module = CudaGraphs(network()).cuda()
    for seed, count in enumerate((3, 1, 32, 4, 3, 17, 33)):
        images = people(count, seed=seed).cuda()
        torch.testing.assert_close(module(images), module.network(images), rtol=1e-3, atol=1e-4)
    assert sorted(module._replays) == [1, 4, 32]
