"""Cuts the person class out of YOLOv3-tiny and stores it as int8: how `lite_person.safetensors` was made.

    python tools/cut_person_detector.py yolov3-tiny.weights hrkit_lite/lite_person.safetensors

The weights are Darknet's (https://pjreddie.com/media/files/yolov3-tiny.weights). The same input gives the same file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import safetensors.torch
import torch
from hrkit_lite.person_detector import CFG, dequantise, quantise
from torch import Tensor

from hrkit.detectors.darknet import (
    Convolution,
    DarknetNetwork,
    YoloDecoder,
    fold_batch_norm,
    load_darknet_weights,
)
from hrkit.detectors.darknet_cfg import read_cfg
from hrkit.detectors.yolov3 import CFG_FOLDER
from hrkit.files import atomic_path

PERSON = 0
"""The person's number among COCO's 80 classes."""
METADATA = {  # one key: safetensors writes several in no fixed order
    "source": "Darknet YOLOv3-tiny (Joseph Redmon, MIT): the person class, int8 with one scale an output channel"
}


def person_state(weights: Path) -> dict[str, Tensor]:
    """The tensors of the person's network, float32, from Darknet's YOLOv3-tiny weights."""
    network = DarknetNetwork(read_cfg(CFG_FOLDER / "yolov3-tiny.cfg"))
    load_darknet_weights(network, weights)
    fold_batch_norm(network)
    kept = torch.tensor([0, 1, 2, 3, 4, 5 + PERSON])  # box, objectness, person
    for before, decoder in zip(network.layers, list(network.layers)[1:], strict=False):
        if isinstance(decoder, YoloDecoder) and isinstance(before, Convolution):
            row = torch.arange(len(decoder.anchors))[:, None] * (5 + network.num_classes) + kept
            for name in ("weight", "bias"):
                parameter = getattr(before.conv, name)
                setattr(before.conv, name, torch.nn.Parameter(parameter.detach()[row.flatten()]))
    return {name: values.detach().contiguous() for name, values in network.state_dict().items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="Darknet's yolov3-tiny.weights")
    parser.add_argument("output", type=Path, help="the .safetensors file to write")
    arguments = parser.parse_args()
    stored = quantise(person_state(arguments.weights))
    DarknetNetwork(read_cfg(CFG)).load_state_dict(dequantise(stored))
    with atomic_path(arguments.output) as temporary:
        safetensors.torch.save_file(stored, temporary, METADATA)
    print(f"{arguments.output}: {arguments.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
