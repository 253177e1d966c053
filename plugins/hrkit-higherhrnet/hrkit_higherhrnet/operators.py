"""The native operators of grouping, `csrc/`."""

from __future__ import annotations

import functools
from pathlib import Path

from hrkit.ops.native import Library


@functools.cache
def library() -> Library:
    """Of `torch.ops.hrkit_higherhrnet`."""
    return Library("hrkit_higherhrnet", Path(__file__).parent / "csrc")
