"""YOLOv3-tiny for the person class alone, its weights stored as int8.

Redmon and Farhadi, YOLOv3: An Incremental Improvement (arXiv:1804.02767); Darknet's weights, cut and rounded by
`tools/cut_person_detector.py`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hrkit.detectors.darknet import DarknetNetwork
from hrkit.detectors.darknet_cfg import read_cfg
from hrkit.detectors.yolov3 import Yolov3
from hrkit.errors import WeightsError

CFG = Path(__file__).with_name("yolov3-tiny-person.cfg")
SCALE = "_scale"
"""Ending of the name of a scale; the rest is the name of the weights it belongs to."""


def lite_person(*, weights: str | os.PathLike[str] | None = None, **options: Any) -> Yolov3:
    """Finds people. `options` are those of `hrkit.detectors.yolov3.Yolov3`.

    `weights` is a file written by `tools/cut_person_detector.py`; without it the network stays as initialised. Raises
    `WeightsError` for a file that does not fit.
    """
    detector = Yolov3(DarknetNetwork(read_cfg(CFG)), **{"class_names": ("person",), **options})
    if weights is not None:
        load_quantised(detector.network, weights)
        detector.network.to(memory_format=torch.channels_last)
    return detector


def quantise(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolution weights (O,I,k,k) as int8 and `<name>_scale` (O,) float32; everything else as it is.

    Each output channel has one scale, zero stays zero. Of scales from half of the largest weight up to the whole of
    it the one of the least squared error is taken.
    """
    stored = {}
    for name, values in state.items():
        if values.ndim != 4:
            stored[name] = values.clone()
            continue
        flat = values.detach().flatten(1)
        largest = flat.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        scales = torch.linspace(0.5, 1, 26)[:, None, None] * largest
        errors = torch.stack(
            [(_rounded(flat, scale) * scale - flat).square().sum(1, dtype=torch.float64) for scale in scales]
        )
        best = scales[errors.argmin(0), torch.arange(len(flat))]
        stored[name] = _rounded(flat, best).to(torch.int8).reshape(values.shape)
        stored[name + SCALE] = best[:, 0]
    return stored


def _rounded(flat: Tensor, scale: Tensor) -> Tensor:
    return (flat / scale).round().clamp(-127, 127)


def dequantise(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The float32 weights behind what `quantise` gives."""
    return {
        name: values.float() * stored[name + SCALE].reshape(-1, 1, 1, 1) if name + SCALE in stored else values
        for name, values in stored.items()
        if not name.endswith(SCALE)
    }


def load_quantised(network: DarknetNetwork, path: str | os.PathLike[str]) -> None:
    """Fills `network` from a file of `quantise`d weights. Raises `WeightsError` for a file that does not fit."""
    try:
        state = dequantise(safetensors.torch.load_file(path))
        network.load_state_dict(state)
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        why = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{os.fspath(path)} does not fit lite_person: {why}; install hrkit-lite again") from error
