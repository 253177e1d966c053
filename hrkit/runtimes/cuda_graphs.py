"""A network replayed from CUDA graphs: one launch a batch instead of one for each of its hundreds of kernels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

logger = logging.getLogger("hrkit")

Replay = Callable[[], Tensor]
"""Runs what was captured on what is in its input now, and gives the output, which the next run writes over."""

Capture = Callable[[nn.Module, Tensor], Replay]
"""A network and its input -> what runs the one on the other, again and again."""

WARM_UPS = 3
"""Runs before a capture, in which libraries choose their kernels and take their memory."""

_one_at_a_time = threading.Lock()
"""A process captures one graph at a time, whatever the device."""


class CudaCapture:
    """Captures graphs on one device, with one pool of memory for all, as they never run side by side.

    Warm-up and capture as in pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, network: nn.Module, images: Tensor) -> Replay:
        """A graph of `network(images)`, which reads `images` anew in every replay."""
        with _one_at_a_time, torch.cuda.device(images.device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    network(images)
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # other threads go on working on this device and on others meanwhile
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                heatmaps = network(images)

        def replay() -> Tensor:
            graph.replay()
            return heatmaps

        return replay


class CudaGraphs(nn.Module):
    """What `network`, (N,3,H,W) -> (N,K,h,w), gives, from one CUDA graph for each of `sizes`: 1, 2, 4, 8 and so on.

    A batch goes into the smallest graph that holds it. A graph is captured when first needed; the first batch says for
    which H, W, dtype and device. Other batches, those of more than `max_batch_size` rows, training and gradients go to
    `network` itself, and everything does if it cannot be captured. Graphs follow changes of weights in place; moving or
    copying the module forgets them. One call at a time: graphs share their input. `capture` makes them for a device.
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
        self.sizes = (*(1 << power for power in range((max_batch_size - 1).bit_length())), max_batch_size)
        self._capture_on = capture
        self._forget()

    def forward(self, images: Tensor) -> Tensor:
        """(N,3,H,W) -> (N,K,h,w), which is the caller's own."""
        if not self._fits(images):
            return self.network(images)
        size = next(size for size in self.sizes if size >= len(images))
        if size not in self._replays:
            self._record(size, images)
        if self._images is None:
            return self.network(images)
        self._images[: len(images)].copy_(images)  # below are people of earlier batches, and nobody looks at them
        return self._replays[size]()[: len(images)].clone()

    def _fits(self, images: Tensor) -> bool:
        if self._failed or self.network.training or torch.is_grad_enabled() or not 0 < len(images) <= self.sizes[-1]:
            return False
        known = images if self._images is None else self._images
        return (images.shape[1:], images.dtype, images.device) == (known.shape[1:], known.dtype, known.device)

    def _record(self, size: int, images: Tensor) -> None:
        try:
            with torch.inference_mode(False), torch.no_grad():  # else nobody outside inference mode could write to it
                if self._images is None:
                    self._capture = self._capture_on(images.device)
                    room = images.new_zeros((self.sizes[-1], *images.shape[1:]))
                    if images.is_contiguous(memory_format=torch.channels_last):
                        room = room.contiguous(memory_format=torch.channels_last)
                    self._images = room
                self._replays[size] = self._capture(self.network, self._images[:size])
        except (RuntimeError, ValueError) as error:  # also of a network that asks its tensors for numbers on the way
            reason = str(error).split("\n")[0]
            logger.warning("%s runs without CUDA graphs: %s", type(self.network).__name__, reason)
            self._forget()
            self._failed = True

    def _forget(self) -> None:
        self._images, self._replays, self._failed = None, {}, False

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._forget()  # graphs have the addresses of the weights in them
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_images": None, "_replays": {}}
        state.pop("_capture", None)
        return state
