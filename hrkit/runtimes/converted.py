"""Networks that were converted for another runtime: compared with PyTorch once, then kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hrkit import __version__
from hrkit.errors import HrkitError, one_line
from hrkit.files import atomic_path, cache_dir
from hrkit.ops.tensors import parts_of

logger: logging.Logger = logging.getLogger("hrkit")

MOST_BYTES = 2 << 30
"""Size of all kept files. Beyond it, the files that were not used for longest are removed."""

TOLERANCES = {"float32": 2e-3, "bfloat16": 0.1, "float16": 0.1, "int8": 0.5}
"""By precision: the largest accepted difference to PyTorch's float32, as a share of the largest value."""


def folder() -> Path:
    """Where converted networks and the choices of runtimes are kept."""
    return cache_dir() / "runtimes"


def version(package: str) -> str:
    """The installed version of a package; empty if there is none."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return ""


def capabilities() -> Mapping[str, Any]:  # Any: values of many types
    """What torch knows of the processor, by name; nothing in older versions of torch."""
    return getattr(torch.cpu, "get_capabilities", dict)()


def processor() -> str:
    """The name of the processor, and what torch uses of it."""
    name = capabilities().get("cpu_name") or platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def fingerprint(network: nn.Module, *facts: object, values: bool = True) -> str:
    """A digest of a network and of `facts`; without `values` it is the same for all weights of an architecture.

    It covers the layers, their plain attributes, the code of each `forward`, and hrkit's and torch's versions.
    """
    digest = hashlib.blake2b(repr((__version__, torch.__version__, facts)).encode(), digest_size=16)
    for name, part in network.named_modules():
        plain = sorted((key, repr(value)) for key, value in vars(part).items() if _plain(value))
        code = getattr(type(part).forward, "__code__", None)
        digest.update(repr((name, type(part).__qualname__, plain, code and code.co_code)).encode())
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        digest.update(repr((name, tuple(tensor.shape))).encode())
        if values and tensor.numel():
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _plain(value: object) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def check_same(found: nn.Module, network: nn.Module, example: Tensor, precision: str = "float32") -> None:
    """Raises `HrkitError` if a converted network does not give what the network gives.

    They are compared on a batch of two, and on half the size if the network takes that too.
    """
    height, width = (max(32, side // 64 * 32) for side in example.shape[2:])
    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 3, *example.shape[2:]), (1, 3, height, width)):
        images = torch.randn(shape, generator=generator)
        try:
            with torch.inference_mode():
                expected = parts_of(network(images))
        except Exception:
            if shape[2:] == example.shape[2:]:
                raise
            return  # a network for one size
        try:
            with torch.inference_mode():
                results = parts_of(found(images))
            pairs = list(zip(results, expected, strict=True))
            differences = [float((ours - wanted).abs().max() / wanted.abs().max()) for ours, wanted in pairs]
        except Exception as error:  # each runtime has its own classes of errors
            raise HrkitError(f"the converted network does not run ({one_line(error)[:200]})") from error
        if not all(difference <= TOLERANCES[precision] for difference in differences):
            raise HrkitError(f"the converted network differs from PyTorch by {max(differences):.1e}")


def read(name: str) -> bytes | None:
    """The content of a kept file, None if there is none or it is damaged."""
    path = folder() / name
    try:
        content = path.read_bytes()
        path.touch()
    except OSError:
        return None
    seal, rest = content[:16], content[16:]
    return rest if seal == _seal(rest) else None


def keep(name: str, content: bytes) -> None:
    """Writes a file that `read` gives back, and removes the least recently used ones if they are too large together.

    Does nothing if the folder cannot be written.
    """
    try:
        with atomic_path(folder() / name) as temporary, temporary.open("wb") as file:
            file.write(_seal(content))
            file.write(content)
        files = [path for path in folder().iterdir() if path.suffix in (".openvino", ".onnx")]
        total = 0
        for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
            total += path.stat().st_size
            if total > MOST_BYTES:
                path.unlink(missing_ok=True)
    except OSError as error:
        logger.debug("%s is not kept: %s", name, one_line(error))


def _seal(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
