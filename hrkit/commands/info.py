"""`hrkit info`: the cost of a network."""

from __future__ import annotations

import click
import torch
from torch import nn

from hrkit.commands.model_options import is_detector
from hrkit.commands.numbers import SIZE, number_option
from hrkit.errors import HrkitError, WeightsError, one_line
from hrkit.export import detector_network
from hrkit.pipeline import create_detector
from hrkit.pose_model import create_pose_model
from hrkit.runtimes.complexity import LayerGroup, layer_groups
from hrkit.settings import Range
from hrkit.weights import catalogue


@click.command("info", epilog="Example: hrkit info hrnet_w48 --input-size 384 288")
@click.argument("name")
@click.option("--input-size", type=SIZE, metavar="HEIGHT WIDTH", help="[default: that of the default weights]")
@number_option("--joints", int, Range(1), "Joints of a pose network.  [default: 17]")
@click.option("--head", help="Head of a pose network.  [default: that of the backbone]")
def command(name: str, input_size: tuple[int, int] | None, joints: int | None, head: str | None) -> None:
    """Parameters and multiply-adds of a detector, or of a backbone with its head, by layer group."""
    network: nn.Module
    if is_detector(name):
        if joints is not None or head is not None:
            raise click.UsageError(f"{name} is a detector; --joints and --head are for pose networks")
        network, own_size = detector_network(create_detector(name, weights=None), name)
        size = input_size or own_size
    else:
        trained = _trained(name, joints or 17, input_size)
        size = input_size or (trained and trained.input_size) or (256, 192)
        options = None if trained is None else trained.backbone_options
        network = create_pose_model(name, head=head, num_joints=joints or 17, input_size=size, backbone_options=options)
    groups = _cost(name, network, size)
    click.echo(f"{name} at {size[0]}x{size[1]} (height x width)")
    click.echo(f"{'part':32} {'parameters':>12} {'multiply-adds':>15}")
    for group in groups:
        click.echo(f"{group.name:32} {group.parameters:12,} {group.multiply_adds:15,}")
    parameters = sum(group.parameters for group in groups)
    multiply_adds = sum(group.multiply_adds for group in groups)
    official = sum(group.official for group in groups)
    click.echo(f"{'total':32} {parameters:12,} {multiply_adds:15,}")
    click.echo(
        f"{parameters / 1e6:.1f} M parameters, {multiply_adds / 1e9:.1f} G multiply-adds "
        f"({official / 1024**3:.1f} as the official tables count)"
    )


def _cost(name: str, network: nn.Module, size: tuple[int, int]) -> list[LayerGroup]:
    try:
        return layer_groups(network.eval(), torch.zeros(1, 3, *size))
    except (HrkitError, OSError):
        raise
    except Exception as error:  # the network of a plugin may raise anything
        raise HrkitError(f"{name} does not run at {size[0]}x{size[1]} ({one_line(error)})") from error


def _trained(name: str, joints: int, input_size: tuple[int, int] | None) -> catalogue.WeightsEntry | None:
    """The weights that a pipeline would take, if there are any."""
    try:
        return catalogue.choose(name, num_joints=joints, input_size=input_size)
    except WeightsError:
        return None
