"""`hrkit export`: a network as a file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from torch import Tensor

    from hrkit.export import Exportable


@click.command(
    "export",
    epilog="""\b
Examples:
  hrkit export hrnet_w32 -o hrnet_w32.onnx
  hrkit export lite --format openvino -o lite.xml
  hrkit export lite --int8 coco:data/coco -o lite-int8.xml
  hrkit export hrnet_w32 --weights runs/mine/best.safetensors -o mine.pt2
  hrkit export yolov3_tiny --input-size 320 320 -o yolov3_tiny.onnx""",
)
@click.argument("name")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.onnx, FILE.xml or FILE.pt2.")
@click.option("--format", "kind", help="onnx, openvino or torch-export.  [default: as the file's name ends]")
@click.option("--weights", default="auto", show_default=True, help="auto, an entry, a file, none.")
@click.option("--head", help="Of a pose network.  [default: the weights' own]")
@click.option("--input-size", type=(int, int), metavar="HEIGHT WIDTH", help="[default: the weights' own]")
@click.option("--num-joints", type=click.IntRange(1), help="Of a pose network.  [default: the weights' own]")
@click.option("--int8", metavar="DATASET", help="OpenVINO in int8, fitted to people of NAME:PATH.")
def command(
    name: str,
    output: Path,
    kind: str | None,
    weights: str,
    head: str | None,
    input_size: tuple[int, int] | None,
    num_joints: int | None,
    int8: str | None,
) -> None:
    """Writes the pose network or the detector NAME (see `hrkit models`) to a file for another runtime.

    It computes in float32 and takes batches of any size; the file also says what goes in and what comes out. It is run
    and compared with PyTorch: a difference above 0.001 is an error, and leaves no file. int8 is only compared.
    """
    from hrkit import registry
    from hrkit.errors import UnknownNameError
    from hrkit.export import BATCHES, checked_format, export

    kind = checked_format(output, kind, int8=int8 is not None)  # before weights are fetched
    calibration = None
    if name in registry.backbones:
        subject, calibration = _pose_model(name, weights, head, input_size, num_joints, int8)
    elif name in registry.detectors:
        if head is not None or num_joints is not None or int8 is not None:
            raise click.UsageError(f"{name} is a detector; --head, --num-joints and --int8 are for pose networks")
        subject = _detector(name, weights, input_size)
    else:
        choices = [*registry.backbones.entries(), *registry.detectors.entries()]
        raise UnknownNameError("backbone or detector", name, choices, hint=registry.where_else(name))
    difference = export(subject, output, kind, calibration=calibration)
    height, width = subject.input_size
    click.echo(f"{subject.name}: images (N,3,{height},{width}) -> {subject.output}")
    click.echo(f"largest difference to PyTorch {difference:.1e}, in batches of {' and '.join(map(str, BATCHES))}")
    for written in (output, output.with_suffix(".bin")) if kind == "openvino" else (output,):
        click.echo(f"{click.format_filename(written)}: {written.stat().st_size / 1e6:.1f} MB")


def _pose_model(
    name: str,
    weights: str,
    head: str | None,
    input_size: tuple[int, int] | None,
    num_joints: int | None,
    dataset: str | None,
) -> tuple[Exportable, list[Tensor] | None]:
    """A pose network, and inputs to fit int8 to if there is a dataset for it."""
    from hrkit.datasets.loading import DatasetSpec
    from hrkit.export import calibration_crops, exportable_pose_model
    from hrkit.pose_model import create_pose_model

    filled = None if weights == "none" else weights
    model = create_pose_model(name, weights=filled, head=head, input_size=input_size, num_joints=num_joints)
    people = None if dataset is None else DatasetSpec.parse(dataset).load("train")
    return exportable_pose_model(model, weights), None if people is None else calibration_crops(model, people)


def _detector(name: str, weights: str, input_size: tuple[int, int] | None) -> Exportable:
    from hrkit.export import exportable_detector
    from hrkit.pipeline import create_detector

    detector = create_detector(name, weights=None if weights == "none" else weights)
    return exportable_detector(detector, name, weights, input_size)
