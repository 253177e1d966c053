"""A network of few tensors: how files are read does not depend on how deep it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from torch import nn

from hrkit.backbones import hrnet


@pytest.fixture(scope="module")
def shallow() -> Iterator[None]:
    """HRNets of the usual names, with one block or module wherever four are repeated: 600 tensors instead of 1754."""
    stage, layer = hrnet.Stage, hrnet.residual_layer

    def fewer_modules(widths: list[int], num_modules: int, num_outputs: int) -> nn.Module:
        return stage(widths, 1 if num_modules == 4 else num_modules, num_outputs)

    def one_block(block: Any, in_channels: int, planes: int, count: int) -> nn.Module:
        return layer(block, in_channels, planes, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hrnet, "Stage", fewer_modules)
        patch.setattr(hrnet, "residual_layer", one_block)
        yield
