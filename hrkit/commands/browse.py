"""`hrkit browse`: a contact sheet of training samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from hrkit.commands.numbers import PATH, SIZE, number_option
from hrkit.datasets.augmentation import PersonCrops
from hrkit.datasets.loading import DatasetSpec
from hrkit.drawing.contact_sheet import captioned, contact_sheet, draw_joints, heatmap_overlay
from hrkit.errors import HrkitError
from hrkit.files import check_outputs
from hrkit.heads.base import Codec
from hrkit.heads.codecs import HeatmapCodec, create_codec
from hrkit.images import check_writable, write_image
from hrkit.pose_spec import default_sigma
from hrkit.settings import SIGMA, Range
from hrkit.structures import Frame
from hrkit.training.config import TrainConfig, build_config, read_config


@click.command(
    "browse",
    epilog="""\b
Examples:
  hrkit browse --dataset coco:data/coco --output samples.jpg
  hrkit browse --config lite.toml --count 8 --seed 1""",
)
@click.option("--dataset", help="NAME[:PATH], as for `hrkit train`.  [default: from the config, or coco]")
@click.option("--config", "config_file", type=PATH, help="Config of `hrkit train`.")
@click.option("--split", default="train", help="Part of the dataset.")
@number_option("--count", int, Range(1), "Number of people.", default=24)
@click.option("--input-size", type=SIZE, metavar="HEIGHT WIDTH", help="[default: from the config, or 256 192]")
@click.option("--codec", help="Targets: msra, dark, udp.  [default: from the config, or msra]")
@number_option(
    "--sigma", float, SIGMA, "Width of the targets, heatmap px.  [default: from the config, or by size]"
)
@number_option("--seed", int, Range(0), "Selects the people and how they vary.", default=0)
@click.option("-o", "--output", type=PATH, default=Path("browse.jpg"))
def command(
    dataset: str | None, config_file: Path | None, split: str, count: int, seed: int, output: Path, **given: Any
) -> None:
    """Draws samples of a dataset on one sheet: each person as cropped, as augmented, and with the targets."""
    check_writable(output)
    named = {name: value for name, value in given.items() if value is not None}
    recipe = {} if config_file is None else read_config(config_file)
    config = build_config(TrainConfig, {"output": "browse", **recipe, **named}, str(config_file or "command line"))
    spec = DatasetSpec.parse(dataset or config.datasets[0])
    size = config.input_size or (256, 192)
    if any(side % 4 for side in size):
        raise HrkitError(f"input size {size} must be a multiple of 4")
    codec = create_codec(
        config.codec or "msra",
        input_size=size,
        heatmap_size=(size[0] // 4, size[1] // 4),
        sigma=config.sigma or default_sigma(size),
    )
    if not isinstance(codec, HeatmapCodec):
        raise HrkitError(f"codec {config.codec!r} has no heatmaps to draw; take --codec msra, dark or udp")
    people = spec.load(split, images=config.images, category=config.category, skip_bad=config.skip_bad)
    check_outputs([output], [config_file, spec.path, *people.image_paths])
    rows = np.random.default_rng(seed).permutation(len(people))[:count]
    plain = PersonCrops(people, size, codec.udp)
    varied = PersonCrops(people, size, codec.udp, config.augmentation, seed)
    tiles = [tile for place, row in enumerate(rows) for tile in _tiles(plain, varied, codec, place, int(row))]
    write_image(output, contact_sheet(tiles, columns=3 * min(4, len(rows))))
    click.echo(f"{people}: {len(rows)} people, each plain, augmented and with targets")
    click.echo(f"drawn: {click.format_filename(output)}")


def _tiles(plain: PersonCrops, varied: PersonCrops, codec: Codec, place: int, row: int) -> list[Frame]:
    """A person as cropped, as augmented, and with the targets of the augmented crop."""
    skeleton, name = plain.dataset.skeleton, f"id {plain.dataset.ids[row]}"
    before, after = plain[0, place, row], varied[0, place, row]
    targets, weights = codec.encode(after.keypoints[None], after.visible[None])
    shrink = 1 if codec.udp else 0  # cells of UDP span the centres of the outer pixels
    (height, width), (h, w) = codec.input_size, codec.heatmap_size
    to_crop = np.array([[(width - shrink) / (w - shrink), 0, 0], [0, (height - shrink) / (h - shrink), 0]], np.float64)
    overlay = heatmap_overlay(after.crop, np.asarray(targets[0]), to_crop)
    labelled, trained = int(before.visible.sum()), int((np.asarray(weights) > 0).sum())
    return [
        captioned(draw_joints(before.crop, before.keypoints, before.visible, skeleton), f"{name}, {labelled} joints"),
        captioned(draw_joints(after.crop, after.keypoints, after.visible, skeleton), "augmented"),
        captioned(overlay, f"targets, {trained} joints"),
    ]
