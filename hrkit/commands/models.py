"""`hrkit models`: the published weights."""

from __future__ import annotations

import json
from typing import Any

import click
from attrs import asdict

from hrkit.commands.numbers import number_option
from hrkit.errors import WeightsError
from hrkit.settings import Range
from hrkit.skeletons import find_skeleton
from hrkit.weights import catalogue

_COLUMNS = ("name", "model", "input", "joints", "codec", "score", "licence", "size", "cached", "default")


@click.command(
    "models",
    epilog="""\b
Examples:
  hrkit models
  hrkit models hrnet_w48
  hrkit models --joints 21
  hrkit models --skeleton coco_wholebody133
  hrkit models --json mpii

The column "default" marks the entries that weights="auto" takes, and "cached" says whether the file is on this
machine: yes, no, or carried by a plugin.""",
)
@click.option("--skeleton", metavar="NAME|FILE.toml", help="Only pose networks with these joints, such as ap10k.")
@number_option("--joints", int, Range(1), "Only pose networks with so many joints.")
@click.option("--json", "as_json", is_flag=True, help="Print all fields of the entries as JSON.")
@click.argument("text", required=False)
def command(skeleton: str | None, joints: int | None, as_json: bool, text: str | None) -> None:
    """Lists the published weights. With TEXT, lists those with it in their name, model, kind, codec or source."""
    names = None if skeleton is None else find_skeleton(skeleton).keypoint_names
    found = [
        entry
        for entry in catalogue.entries(kind=None if names is None and joints is None else "pose")
        if (text is None or _mentions(entry, text))
        and names in (None, entry.skeleton.keypoint_names)
        and joints in (None, entry.num_joints)
    ]
    if as_json:
        click.echo(json.dumps([_fields(entry) for entry in found], indent=1))
    elif found:
        click.echo(_table([_COLUMNS, *(_row(entry) for entry in found)]))
    else:
        raise WeightsError("no weights are of this kind; `hrkit models` lists all of them")


def _mentions(entry: catalogue.WeightsEntry, text: str) -> bool:
    fields = (entry.name, entry.model, entry.kind, entry.codec if entry.kind == "pose" else "", entry.source)
    return any(text.lower() in field.lower() for field in fields)


def _fields(entry: catalogue.WeightsEntry) -> dict[str, Any]:
    fields = {**asdict(entry, recurse=False), "num_joints": entry.num_joints, "cached": catalogue.is_cached(entry)}
    return {**fields, "skeleton": entry.skeleton.name, "file": None if entry.file is None else str(entry.file)}


def _row(entry: catalogue.WeightsEntry) -> tuple[str, ...]:
    pose = entry.kind == "pose"  # detectors and backbones have neither joints nor codec
    cached = catalogue.is_cached(entry)
    size = entry.file.stat().st_size if entry.file and cached else entry.size
    metric, value = entry.figure or ("", 0.0)
    return (
        entry.name,
        entry.model,
        "-" if entry.input_size is None else "{}x{}".format(*entry.input_size),
        str(entry.num_joints) if pose else "",
        entry.codec if pose else "",
        f"{metric} {value if metric == 'EPE' else 100 * value:.1f}" if metric else "",
        entry.licence,
        "" if size is None else f"{size / 1e6:.0f} MB",
        ("carried" if entry.file else "yes") if cached else "no",
        "yes" if entry.default else "",
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in lines)
