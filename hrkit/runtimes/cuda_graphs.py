"""Networks replayed from CUDA graphs: one launch per batch instead of one for each of hundreds of kernels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hrkit.ops.tensors import Outputs, of_each

logger: logging.Logger = logging.getLogger("hrkit")

Replay = Callable[[], Outputs]
"""Runs a captured network on the present content of its input; the next run overwrites the output."""

Capture = Callable[[nn.Module, Tensor], Replay]
"""Captures a network that reads its input from the given tensor."""

WARM_UPS = 3
"""Runs before a capture, in which libraries choose kernels and allocate memory."""

_one_at_a_time = threading.Lock()
"""A process captures one graph at a time, on whatever device."""


class CudaCapture:
    """Captures graphs on one device. They share one memory pool, as they never run at the same time.

    Warm-up and capture follow pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, network: nn.Module, images: Tensor) -> Replay:
        """A graph of `network(images)`, which reads `images` again in each replay."""
        with _one_at_a_time, torch.cuda.device(images.device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    network(images)
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # thread_local: other threads keep using this device and others during the capture
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                outputs = network(images)

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay


class CudaGraphs(nn.Module):
    """A network, (N,3,H,W) -> (N,...), run by one CUDA graph for each batch size of `sizes`: 1, 2, 4, 8 and so on.

    A batch goes into the smallest graph that holds it. Each graph is captured when it is first needed; the first batch
    fixes H, W, dtype and device. The plain network runs other batches, batches above `max_batch_size`, training and
    gradients, and everything if a capture fails. Graphs follow in-place changes of weights; moving or copying the
    module drops them. Graphs share their input, so calls must not overlap. `capture` makes a `Capture` for a device.
    """

    _capture: Capture
    _images: Tensor | None
    _replays: dict[int, Replay]
    _failed: bool

    def __init__(
        self,
        network: nn.Module,
        *,
        max_batch_size: int = 32,
        capture: Callable[[torch.device], Capture] = CudaCapture,
    ) -> None:
        super().__init__()
        self.network = network
        powers = range((max_batch_size - 1).bit_length())
        self.sizes: tuple[int, ...] = (*(1 << power for power in powers), max_batch_size)
        self._capture_on = capture
        self._forget()

    def forward(self, images: Tensor) -> Outputs:
        """(N,3,H,W) -> what the network gives, in memory that no later call overwrites."""
        if not self._fits(images):
            return self.network(images)
        size = next(size for size in self.sizes if size >= len(images))
        if size not in self._replays:
            self._record(size, images)
        if self._images is None:
            return self.network(images)
        self._images[: len(images)].copy_(images)  # the rows below are left over from earlier batches
        return of_each(lambda rows: rows[: len(images)].clone(), self._replays[size]())

    def _fits(self, images: Tensor) -> bool:
        if self._failed or self.network.training or torch.is_grad_enabled() or not 0 < len(images) <= self.sizes[-1]:
            return False
        known = images if self._images is None else self._images
        return (images.shape[1:], images.dtype, images.device) == (known.shape[1:], known.dtype, known.device)

    def _record(self, size: int, images: Tensor) -> None:
        try:
            with torch.inference_mode(False), torch.no_grad():  # an inference tensor could not be written to elsewhere
                if self._images is None:
                    self._capture = self._capture_on(images.device)
                    channels_last = images.is_contiguous(memory_format=torch.channels_last)
                    layout = torch.channels_last if channels_last else torch.contiguous_format
                    room = images.new_zeros((self.sizes[-1], *images.shape[1:]))
                    self._images = room.contiguous(memory_format=layout)
                self._replays[size] = self._capture(self.network, self._images[:size])
        except (RuntimeError, ValueError) as error:  # also from a network that reads values of its tensors
            reason = str(error).split("\n")[0]
            logger.warning("%s runs without CUDA graphs: %s", type(self.network).__name__, reason)
            self._forget()
            self._failed = True

    def _forget(self) -> None:
        self._images, self._replays, self._failed = None, {}, False

    def _apply(self, fn: Any, recurse: bool = True) -> Any:  # Any: as in nn.Module
        self._forget()  # graphs hold the addresses of the weights
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:  # Any: attributes of a module
        state = {**self.__dict__, "_images": None, "_replays": {}}
        state.pop("_capture", None)
        return state
