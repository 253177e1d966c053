"""Exported files in the place of a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from hrkit.errors import HrkitError, one_line

Runtime = TypeVar("Runtime", bound=nn.Module)


def load_fitting(load: Callable[[str], Runtime], file: str, network: nn.Module, example: Tensor) -> Runtime:
    """What `load` makes of a file, if it takes and gives what `network` does; else raises `HrkitError`.

    `example` is (1,3,H,W). That the weights are the same is not checked.
    """
    if not Path(file).is_file():
        raise HrkitError(f"there is no file {file}; `hrkit export` writes it")
    with torch.inference_mode():
        expected = network(example).shape
        try:
            loaded = load(file)
            found = loaded(example).shape
        except HrkitError:
            raise
        except Exception as error:  # each runtime has errors of its own
            reason = one_line(error)[:200]
            raise HrkitError(f"{file} does not run with inputs of {tuple(example.shape)} ({reason})") from error
    if found != expected:
        raise HrkitError(f"{file} gives {tuple(found)}, the network {tuple(expected)}; export this network")
    return loaded
