"""`hrkit info`: what a network costs."""

from __future__ import annotations

import click


@click.command("info", epilog="Example: hrkit info hrnet_w48 --input-size 384 288")
@click.argument("name")
@click.option("--input-size", type=(int, int), help="Height and width.  [default: of the network's default weights]")
@click.option("--joints", type=click.IntRange(1), default=17, show_default=True)
@click.option("--head", help="[default: the backbone's own]")
def command(name: str, input_size: tuple[int, int] | None, joints: int, head: str | None) -> None:
    """Parameters and multiply-adds of a backbone with its head, or of a detector, by layer group."""
    import torch

    from hrkit import registry
    from hrkit.complexity import layer_groups
    from hrkit.pipeline import create_detector
    from hrkit.pose_model import create_pose_model

    if name in registry.detectors and name not in registry.backbones:
        detector = create_detector(name, weights=None)
        network = getattr(detector, "network", None)
        if network is None:
            raise click.UsageError(f"detector {name!r} does not show its network")
        size = input_size or (detector.input_size,) * 2  # type: ignore[attr-defined]
    else:
        size = input_size or _trained_size(name, joints)
        network = create_pose_model(name, head=head, num_joints=joints, input_size=size)
    groups = layer_groups(network.eval(), torch.zeros(1, 3, *size))
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


def _trained_size(name: str, joints: int) -> tuple[int, int]:
    from hrkit import zoo
    from hrkit.errors import WeightsError

    try:
        return zoo.choose(name, num_joints=joints).input_size
    except WeightsError:
        return 256, 192
