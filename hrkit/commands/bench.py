"""`hrkit bench`: how fast it is here."""

from __future__ import annotations

import json

import click


@click.command("bench", epilog="Example: hrkit bench --train --backbone hrnet_w32")
@click.option("--train", "of_training", is_flag=True, required=True, help="Loader and training step.")
@click.option("--backbone", default="hrnet_w32", show_default=True)
@click.option("--input-size", type=(int, int), default=(256, 192), show_default=True, help="Height and width.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    of_training: bool, backbone: str, input_size: tuple[int, int], batch_size: int, steps: int, as_json: bool
) -> None:
    """Measures loader and training step on this machine's CPU."""
    import attrs

    from hrkit.benchmark import made_people, measure_training
    from hrkit.config import TrainConfig

    config = TrainConfig(output="", backbone=backbone, input_size=input_size, batch_size=batch_size)
    with made_people() as people:
        rates = measure_training(config, people, steps)
    if as_json:
        click.echo(json.dumps({**attrs.asdict(rates), "network_share": rates.network_share}))
        return
    step = rates.network_seconds + rates.prepare_seconds + rates.metrics_seconds
    click.echo(f"loader   {rates.loader_rate:8.1f} samples/s a core, from 640x480 JPEGs")
    click.echo(f"step     {rates.step_rate:8.1f} samples/s, batches of {batch_size}")
    for name, seconds in (
        ("forward, backward, optimizer", rates.network_seconds),
        ("normalise, targets", rates.prepare_seconds),
        ("metrics", rates.metrics_seconds),
    ):
        click.echo(f"  {name:30} {seconds * 1e3:9.2f} ms  {seconds / step:6.1%}")
