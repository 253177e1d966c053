"""Reads weights files as plain data, executes nothing in them, and says what other files are."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from hrkit.errors import WeightsError

Content = Any
"""Whatever somebody saved: mappings, lists, tensors and plain values."""

_DATA = re.compile(r"(mmengine|mmcv|addict)\..*|argparse\.Namespace|pathlib\.\w+|getattr")
"""Types in MMPose's and other checkpoints whose values are ignored."""
_BEGINNINGS = {
    b"version https://git-lfs": "is a pointer of git-lfs, not the file that it stands for; run `git lfs pull`",
    b"\x89HDF": "is a file of Keras (HDF5), not of PyTorch; look for .pth or .safetensors",
    b"\x1f\x8b": "is compressed with gzip; unpack it first",
}
_EXPORTED = {".onnx": "onnx", ".xml": "openvino"}


def read(file: Path) -> tuple[Content, Mapping[str, Any]]:
    """The content of a file in the formats of safetensors or torch, and the metadata that hrkit wrote, if any.

    Raises `WeightsError` for a file that is missing, damaged, of another kind, or holds objects.
    """
    if not file.is_file():
        raise WeightsError(f"{file}: no such weights file")
    with file.open("rb") as opened:
        beginning = opened.read(512)
    other = _other_kind(file, beginning)
    if other:
        raise WeightsError(f"{file} {other}")
    if file.suffix.lower() == ".safetensors" or beginning[8:10] == b'{"':  # after the header's length, the header
        return _read_safetensors(file)
    content = _read_torch(file)
    metadata = content.get("hrkit") if isinstance(content, Mapping) else None
    return content, metadata if isinstance(metadata, Mapping) else {}


def _other_kind(file: Path, beginning: bytes) -> str:
    """What the file is if it is known to be no weights, and what to do, in words; else nothing."""
    text = beginning.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "is a web page, as some hosts show before a large file; download the file itself with a browser"
    runtime = _EXPORTED.get(file.suffix.lower())
    if runtime:
        return f"is an exported network; run it with runtime='{runtime}:{file}' (--runtime {runtime}:{file})"
    if file.suffix.lower() == ".pt2":
        return "is a program of torch.export; save the state_dict of its network alone, with torch.save"
    if tarfile.is_tarfile(file):  # for which torch would make a folder
        return "is a tar archive, or damaged; unpack it, or fetch it again"
    for start, what in _BEGINNINGS.items():
        if beginning.startswith(start):
            return what
    if beginning and all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in beginning):
        line = beginning.decode("ascii").strip().splitlines()[:1]
        return f"is text ({line[0][:60] if line else 'empty lines'!r}), not weights; fetch the file again"
    return ""


def _read_safetensors(file: Path) -> tuple[Content, Mapping[str, Any]]:
    try:
        with safetensors.safe_open(file, "pt") as reader:
            state = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118  (no mapping)
            metadata = json.loads((reader.metadata() or {}).get("hrkit", "{}"))
    except (safetensors.SafetensorError, ValueError, RecursionError, OSError) as error:
        raise WeightsError(f"{file}: damaged, or no safetensors file ({error}); fetch it again") from None
    if not isinstance(metadata, dict):
        raise WeightsError(f"{file}: its metadata is {type(metadata).__name__}, not names and values; save it again")
    return state, metadata


class _Data:
    """Stands for an object of an ignored type. It keeps nothing and does nothing."""

    def __init__(self, *values: object, **named: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _read_torch(file: Path) -> Content:
    allowed = _numpy_values()
    while True:
        try:
            with torch.serialization.safe_globals(allowed):
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # on damaged files torch raises errors of many kinds
            unknown = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
            if not unknown or not _DATA.fullmatch(unknown[1]):
                raise WeightsError(f"{file}{_refusal(file, error)}") from None
            name = f"builtins.{unknown[1]}" if "." not in unknown[1] else unknown[1]
            allowed.append((dict if name.endswith("Dict") else _Data, name))


def _refusal(file: Path, error: Exception) -> str:
    """Why torch does not read a file, and what to do, worded to follow its name."""
    text, reason = str(error), ""
    if "TorchScript" in text:
        way = f"torch.save(torch.jit.load({str(file)!r}).state_dict(), 'weights.pth')"
        return f" is a program of TorchScript; save its tensors alone: {way}"
    if not isinstance(error, pickle.UnpicklingError):
        reason = f" ({(text.splitlines() or [type(error).__name__])[0]})"
    elif any(word in text for word in ("Unsupported global", "Unsupported class", "GLOBAL")):
        refused = "holds objects other than tensors and was refused (nothing in it was executed)"
        return f" {refused}; save the state_dict alone"
    return f": damaged, or no weights file{reason}; fetch it again"


def _numpy_values() -> list[Any]:  # Any: functions and types, some with the name they have in pickles
    """The functions and types in pickles of NumPy numbers and arrays, of NumPy 1 and 2."""
    multiarray = importlib.import_module(f"numpy.{'_core' if hasattr(np, '_core') else 'core'}.multiarray")
    aliases = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")
    ]
    return [*aliases, np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "?bhilqBHILQefdSU"}]
