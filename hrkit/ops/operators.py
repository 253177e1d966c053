"""hrkit's own operators, `csrc/`, which come in by the hook that plugins have for theirs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hrkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from hrkit.ops.native import Library


@hookimpl
def register_operators() -> Mapping[str, Callable[[], Library]]:
    """Suppression by IoU and by OKS."""
    return {"hrkit": library}


@functools.cache
def library() -> Library:
    """Of `torch.ops.hrkit`."""
    from hrkit.ops.native import Library

    return Library("hrkit_ops", Path(__file__).parents[1] / "csrc", _register_fakes)


def _register_fakes() -> None:
    """Shapes without numbers, for torch.compile and torch.export."""
    import torch

    def some(like: Tensor, dtype: torch.dtype = torch.int64) -> Tensor:
        return like.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=dtype)

    def soft(boxes: Tensor, scores: Tensor, *settings: object) -> tuple[Tensor, Tensor]:
        rows = some(boxes)
        return rows, scores.new_empty(rows.shape)

    for name in ("nms", "batched_nms", "oks_nms", "soft_oks_nms"):
        torch.library.register_fake(f"hrkit::{name}", lambda first, *others: some(first))
    torch.library.register_fake("hrkit::soft_nms", soft)
    torch.library.register_fake(
        "hrkit::oks", lambda points, others, *more: points.new_empty(points.shape[0], others.shape[0])
    )
