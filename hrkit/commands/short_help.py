"""Commands with many options: `--help` is one screen, and `--help-all` shows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

ALL = "hrkit.help_all"
"""Key of `click.Context.meta`: whether help shows all options."""

RARE = (
    *("skeleton", "detector_weights", "detector_cfg", "detector_names", "detector_size", "classes", "decoder"),
    *("flip_test", "precision", "runtime", "head", "smoothing", "max_people", "profile", "heatmaps"),
    *("engine", "workers", "address", "inputs", "max_frames", "category", "skip_bad", "box_threshold", "nms"),
    *("nms_threshold", "score_threshold", "threshold", "detect_every", "camera", "video", "images"),
)
"""Names of options that the commands `demo`, `extract` and `test` show with `--help-all` only."""


class ShortHelp(click.Command):
    """A command whose `--help` leaves out the options of whose names `rare` is true."""

    def __init__(self, *arguments: Any, rare: Callable[[str], bool] = RARE.__contains__, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.rare = rare
        text = "Show all options and exit."
        self.params.append(
            click.Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show, help=text)
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        shown = [one for one in options if ctx.meta.get(ALL) or not self.rare(one.name or "")]
        with formatter.section("Options"):
            formatter.write_dl([record for one in shown if (record := one.get_help_record(ctx))])


def _show(context: click.Context, option: click.Parameter, given: bool) -> None:
    if given:
        context.meta[ALL] = True
        click.echo(context.get_help(), color=context.color)
        context.exit()
