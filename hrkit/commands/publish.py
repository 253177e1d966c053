"""`hrkit publish`: the weights of a training run for others."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from hrkit.commands.numbers import PATH
from hrkit.weights import hub


@click.command(
    "publish",
    epilog="""\b
Examples:
  hrkit publish runs/first --to hf-hub:owner/name --licence apache-2.0
  hrkit publish runs/first --to first-published""",
)
@click.argument("run", type=PATH)
@click.option("--to", "target", required=True, help="hf-hub:owner/name[@branch], or a new or empty folder.")
@click.option(
    "--report",
    type=PATH,
    help="Folder of `hrkit test --output`, for the model card.  [default: RUN/report if it exists]",
)
@click.option("--licence", help="Licence of the weights, as the Hub writes it: apache-2.0, cc-by-4.0.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
def command(run: Path, target: str, report: Path | None, licence: str | None, private: bool) -> None:
    """Publishes the best weights of a training run as safetensors with a model card, and nothing else.

    RUN is the folder of `hrkit train`. A missing repository is created; log in with `hf auth login`, or set HF_TOKEN.
    The card describes the network, its training and the results of `hrkit test`. It holds no paths.
    """
    from hrkit.training.publishing import publish
    from hrkit.weights.checkpoints import read_checkpoint

    click.echo(f"published: {publish(run, target, report=report, licence=licence, private=private)}")
    network = target
    if not hub.is_address(target):
        backbone = read_checkpoint(Path(target) / hub.FILE).metadata["backbone"]
        network = f"{backbone} --weights {shlex.quote(click.format_filename(target))}"
    click.echo(f"use it: hrkit demo photo.jpg --backbone {network}")
