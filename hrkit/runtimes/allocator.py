"""A setting of the C library's allocator that makes networks faster on the CPU."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""Parameters of glibc's mallopt (malloc.h)."""

_USER_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_")
"""Prefixes of the environment variables with which users set these parameters."""


@functools.cache
def keep_freed_memory() -> bool:
    """Makes glibc keep the memory of freed large tensors, for the whole process; False if it cannot.

    By default glibc returns this memory to the kernel, which then clears the same pages for the next layer: a third of
    the time of a small network. With this setting the process stays at its largest size, and all threads share the kept
    memory. Nothing changes without glibc, or if the user has set its parameters.

    The command line and workers call this function. A program that imports hrkit decides for itself.
    """
    if sys.platform != "linux" or any(name.startswith(_USER_SETTINGS) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    settings = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 << 20, _ARENA_MAX: 1}
    return all(mallopt(name, value) for name, value in settings.items())


def return_freed_memory() -> None:
    """Returns memory that glibc keeps to the kernel now, for a server that has nothing to do. Else it does nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
