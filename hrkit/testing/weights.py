"""Weights entries against the contract of `hrkit.hookspecs.register_weights`."""

from __future__ import annotations

from hrkit import registry
from hrkit.pipeline import create_detector
from hrkit.pose_model import create_pose_model
from hrkit.testing.report import Check, Contract, NotJudged, Wrong
from hrkit.weights import catalogue
from hrkit.weights.catalogue import WeightsEntry
from hrkit.weights.downloads import digest


def _is_an_entry(entry: object) -> None:
    if not isinstance(entry, WeightsEntry):
        raise Wrong(f"{type(entry).__name__} is no WeightsEntry")


def _model(entry: WeightsEntry) -> None:
    names = registry.detectors if entry.kind == "detector" else registry.backbones
    if entry.model not in names:
        raise Wrong(f"the {names.kind.removesuffix('s')} {entry.model!r} is not registered")
    if entry.kind != "pose":
        return
    if entry.head is not None and entry.head not in registry.heads:
        raise Wrong(f"the head {entry.head!r} is not registered")
    if entry.codec not in registry.decoders:
        raise Wrong(f"the decoder {entry.codec!r} is not registered")


def _checksum(entry: WeightsEntry) -> None:
    if entry.file is None and not entry.checksum:
        raise NotJudged("it has none, so a download cannot be checked; give one if the publisher does")
    if entry.file is None or not entry.file.is_file():
        return
    size = entry.file.stat().st_size
    if entry.size not in (None, size):
        raise Wrong(f"{entry.file} has {size} bytes, not {entry.size}")
    if entry.checksum is not None:
        algorithm, digits = entry.checksum.split(":")
        found = digest(entry.file, algorithm)
        if not found.startswith(digits.lower()):
            raise Wrong(f"{entry.file} has the checksum {algorithm}:{found}")


def _loads(entry: WeightsEntry) -> None:
    if entry.file is None:
        raise NotJudged("the kit downloads nothing")
    if not catalogue.cache_path(entry).is_file():
        raise Wrong(f"{entry.file} is not there")
    if entry.kind == "detector":
        create_detector(entry.model, weights=entry.name)
    elif entry.kind == "pose":
        create_pose_model(entry.model, weights=entry.name, num_joints=None, input_size=None)
    else:
        create_pose_model(entry.model, backbone_weights=entry.name)


CONTRACT = Contract(
    "weights",
    (
        Check("it is a weights entry", _is_an_entry, "give hrkit.weights.WeightsEntry objects", vital=True),
        Check("its names are registered", _model, "name a model, head and decoder that hrkit or the plugin registers"),
        Check("checksum", _checksum, "give the sha256 of the file, and its bytes as size"),
        Check("the carried file loads", _loads, "ship the file as package data; it must fit the network exactly"),
    ),
)

check_weights = CONTRACT.check
"""`check_weights(entry, *, part="weights")`: what is wrong with a `hrkit.weights.WeightsEntry`.

Nothing is downloaded; a file that the plugin carries is loaded.
"""
examine_weights = CONTRACT.examine
