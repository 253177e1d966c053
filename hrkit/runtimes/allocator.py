"""How the C library keeps memory between one pass of a network and the next."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""Parameters of glibc's mallopt (malloc.h)."""

_CHOSEN = ("GLIBC_TUNABLES", "MALLOC_")
"""Environment variables with which users set them."""


@functools.cache
def keep_freed_memory() -> bool:
    """Lets glibc keep the memory of large tensors that were freed; whether it does so now.

    By default it gives each of them back to the kernel, which then clears the same pages for the next layer: a third
    of the time of a small network on the CPU. The process keeps its largest size instead, and all threads share what is
    kept. Elsewhere than on glibc, and where the user has set its parameters, nothing is done.
    """
    if sys.platform != "linux" or any(name.startswith(_CHOSEN) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 << 20, _ARENA_MAX: 1}
    return all(mallopt(name, value) for name, value in settings.items())
