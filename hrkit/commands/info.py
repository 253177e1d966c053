"""`hrkit info`: what a network costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from torch import nn

    from hrkit.runtimes.complexity import LayerGroup


@click.command("info", epilog="Example: hrkit info hrnet_w48 --input-size 384 288")
@click.argument("name")
@click.option("--input-size", type=(int, int), help="Height and width.  [default: of the network's default weights]")
@click.option("--joints", type=click.IntRange(1), help="Of a pose network.  [default: 17]")
@click.option("--head", help="Of a pose network.  [default: the backbone's own]")
def command(name: str, input_size: tuple[int, int] | None, joints: int | None, head: str | None) -> None:
    """Parameters and multiply-adds of a backbone with its head, or of a detector, by layer group."""
    from hrkit import registry
    from hrkit.errors import UnknownNameError
    from hrkit.pose_model import create_pose_model

    network: nn.Module
    if name in registry.backbones:
        size = input_size or _trained_size(name, joints or 17)
        network = create_pose_model(name, head=head, num_joints=joints or 17, input_size=size)
    elif name in registry.detectors:
        if joints is not None or head is not None:
            raise click.UsageError(f"{name} is a detector; --joints and --head are of pose networks")
        network, own_size = _detector_network(name)
        size = input_size or own_size
    else:
        choices = [*registry.backbones.entries(), *registry.detectors.entries()]
        raise UnknownNameError("backbone or detector", name, choices, hint=registry.where_else(name))
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


def _detector_network(name: str) -> tuple[nn.Module, tuple[int, int]]:
    """The network of a detector and its input size; raises `HrkitError` if it takes no batch of one size."""
    from torch import nn

    from hrkit.errors import HrkitError
    from hrkit.pipeline import create_detector

    detector = create_detector(name, weights=None)
    network, side = getattr(detector, "network", None), getattr(detector, "input_size", None)
    if not isinstance(network, nn.Module) or not isinstance(side, int):
        raise HrkitError(f"the cost of detector {name!r} cannot be counted: it has no network of one input size")
    return network, (side, side)


def _cost(name: str, network: nn.Module, size: tuple[int, int]) -> list[LayerGroup]:
    import torch

    from hrkit.errors import HrkitError, one_line
    from hrkit.runtimes.complexity import layer_groups

    try:
        return layer_groups(network.eval(), torch.zeros(1, 3, *size))
    except (HrkitError, OSError):
        raise
    except Exception as error:  # perhaps a stranger's network, which may raise anything
        raise HrkitError(f"{name} does not run at {size[0]}x{size[1]} ({one_line(error)})") from error


def _trained_size(name: str, joints: int) -> tuple[int, int]:
    from hrkit.errors import WeightsError
    from hrkit.weights import catalogue

    try:
        return catalogue.choose(name, num_joints=joints).input_size or (256, 192)
    except WeightsError:
        return 256, 192
