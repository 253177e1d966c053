"""Weights entries against the contract of `hrkit.hookspecs.register_weights`."""

from __future__ import annotations

from hrkit import registry
from hrkit.pipeline import create_detector
from hrkit.pose_model import create_pose_model
from hrkit.testing.report import Checking, Contract, Examining, NotJudged, expect
from hrkit.weights import catalogue
from hrkit.weights.catalogue import WeightsEntry
from hrkit.weights.downloads import digest

CONTRACT: Contract = Contract("weights")


@CONTRACT.rule("it is a weights entry", "give hrkit.weights.WeightsEntry objects", vital=True)
def _is_an_entry(entry: object) -> None:
    expect(isinstance(entry, WeightsEntry), f"{type(entry).__name__} is no WeightsEntry")


@CONTRACT.rule("its names are registered", "name a model, head and decoder that hrkit or the plugin registers")
def _names(entry: WeightsEntry) -> None:
    names: list[tuple[registry.Registry, str | None]]
    names = [(registry.detectors if entry.kind == "detector" else registry.backbones, entry.model)]
    if entry.kind == "pose":
        names += [(registry.heads, entry.head), (registry.decoders, entry.codec)]
    for registered, name in names:
        part = f"{registered.kind.removesuffix('s')} {name!r}"
        expect(name is None or name in registered, f"the {part} is not registered")


@CONTRACT.rule("checksum", "give the sha256 of the file, and its bytes as size")
def _checksum(entry: WeightsEntry) -> None:
    none = "it has none, so a download cannot be checked; give one if the publisher does"
    expect(entry.file is not None or entry.checksum, none, NotJudged)
    if entry.file is None or not entry.file.is_file():
        return
    size = entry.file.stat().st_size
    expect(entry.size in (None, size), f"{entry.file} has {size} bytes, not {entry.size}")
    if entry.checksum is not None:
        algorithm, digits = entry.checksum.split(":")
        found = digest(entry.file, algorithm)
        expect(found.startswith(digits.lower()), f"{entry.file} has the checksum {algorithm}:{found}")


@CONTRACT.rule("the carried file loads", "ship the file as package data; it must fit the network exactly")
def _loads(entry: WeightsEntry) -> None:
    expect(entry.file is not None, "the kit downloads nothing", NotJudged)
    expect(catalogue.cache_path(entry).is_file(), f"{entry.file} is not there")
    if entry.kind == "detector":
        create_detector(entry.model, weights=entry.name)
    elif entry.kind == "pose":
        create_pose_model(entry.model, weights=entry.name, num_joints=None, input_size=None)
    else:
        create_pose_model(entry.model, backbone_weights=entry.name)


check_weights: Checking = CONTRACT.check
"""`check_weights(entry, *, part="weights")`: what is wrong with a `hrkit.weights.WeightsEntry`.

Nothing is downloaded; a file that the plugin carries is loaded.
"""
examine_weights: Examining = CONTRACT.examine
