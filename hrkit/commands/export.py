"""`hrkit export`: a network as a file for other runtimes."""

from __future__ import annotations

from pathlib import Path

import click

from hrkit.commands.model_options import NETWORKS, head_option, input_size_option, is_detector
from hrkit.commands.numbers import PATH, number_option
from hrkit.datasets.loading import DatasetSpec
from hrkit.export import (
    BATCHES,
    calibration_crops,
    checked_format,
    export,
    exportable_detector,
    exportable_pose_model,
)
from hrkit.files import check_outputs
from hrkit.pipeline import create_detector
from hrkit.pose_model import create_pose_model
from hrkit.settings import Range


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
@click.option("-o", "--output", required=True, type=PATH, help="FILE.onnx, FILE.xml or FILE.pt2.")
@click.option("--format", "kind", help="onnx, openvino or torch-export.  [default: that of the file extension]")
@NETWORKS["weights"]
@head_option
@input_size_option
@number_option("--num-joints", int, Range(1), "Joints of a pose network.  [default: those of the weights]")
@NETWORKS["skeleton"]
@click.option("--int8", metavar="DATASET", help="Write OpenVINO in int8, calibrated with people of NAME:PATH.")
def command(
    name: str,
    output: Path,
    kind: str | None,
    weights: str,
    head: str | None,
    input_size: tuple[int, int] | None,
    num_joints: int | None,
    skeleton: str | None,
    int8: str | None,
) -> None:
    """Writes the pose network or the detector NAME (see `hrkit models`) to a file for another runtime.

    The network in the file computes in float32 and takes batches of any size; its input and output are described in the
    file. It is run and compared with PyTorch: a difference above 0.001 is an error and leaves no file. int8 is only
    compared.
    """
    kind = checked_format(output, kind, int8=int8 is not None)  # before weights are downloaded
    files = (output, output.with_suffix(".bin")) if kind == "openvino" else (output,)
    check_outputs(files, [weights])
    filled = None if weights == "none" else weights
    calibration = None
    if is_detector(name):
        if any(given is not None for given in (head, num_joints, skeleton, int8)):
            names = "--head, --num-joints, --skeleton and --int8"
            raise click.UsageError(f"{name} is a detector; {names} are for pose networks")
        subject = exportable_detector(create_detector(name, weights=filled), name, weights, input_size)
    else:
        model = create_pose_model(
            name, weights=filled, head=head, input_size=input_size, num_joints=num_joints, skeleton=skeleton
        )
        subject = exportable_pose_model(model, weights)
        if int8 is not None:
            calibration = calibration_crops(model, DatasetSpec.parse(int8).load("train"))
    difference = export(subject, output, kind, calibration=calibration)
    height, width = subject.input_size
    click.echo(f"{subject.name}: images (N,3,{height},{width}) -> {subject.output}")
    click.echo(f"largest difference to PyTorch {difference:.1e}, in batches of {' and '.join(map(str, BATCHES))}")
    for written in files:
        click.echo(f"{click.format_filename(written)}: {written.stat().st_size / 1e6:.1f} MB")
