"""`hrkit publish`: a trained network for others."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    "publish",
    epilog="""\b
Examples:
  hrkit publish runs/first --to hf-hub:owner/name --licence apache-2.0
  hrkit publish runs/first --to first-published""",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    metavar="TARGET",
    required=True,
    help="hf-hub:owner/name[@branch], or a new or empty folder.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="What `hrkit test --output` wrote, for the model card.  [default: RUN/report, if it is there]",
)
@click.option("--licence", help="Of the weights, as the Hub calls it: apache-2.0, cc-by-4.0.")
@click.option("--private", is_flag=True, help="Make a new repository private.")
def command(run: Path, target: str, report: Path | None, licence: str | None, private: bool) -> None:
    """Publishes the best weights of a training run: safetensors, a model card, and nothing else.

    RUN is the folder of `hrkit train`. A repository that is not there is made; log in with `hf auth login`, or set
    HF_TOKEN. The card says what the network is, how it was trained and what `hrkit test` measured; no path is in it.
    """
    from hrkit.training.publishing import publish
    from hrkit.weights import hub

    click.echo(f"published: {publish(run, target, report=report, licence=licence, private=private)}")
    weights = target if hub.is_address(target) else f"{click.format_filename(target)}/{hub.FILE}"
    click.echo(f"use it with --weights {weights}")
