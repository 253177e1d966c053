"""`hrkit plugins`: what each plugin brings, whether it keeps the contract, and a template for a new one."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from hrkit import registry
from hrkit.errors import PluginError, one_line

KINDS = ("detector", "backbone", "head", "decoder", "dataset", "command")
"""The kinds that `hrkit plugins new` can write."""


@click.group("plugins", invoke_without_command=True, epilog="Example: HRKIT_PLUGINS=lite hrkit plugins")
@click.pass_context
def command(context: click.Context) -> None:
    """Lists plugins with what each brings, and those that failed with the reason.

    HRKIT_PLUGINS=name,name allows only these plugins; HRKIT_PLUGINS= (empty) allows none.
    """
    if context.invoked_subcommand is None:
        _list()


@command.command("new", epilog="Example: hrkit plugins new hrkit-backdrop --kind detector")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), required=True, help="What the plugin brings.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path(), help="Parent of the folder.")
def new(name: str, kind: str, output: Path) -> None:
    """Writes a working plugin with a test.

    The folder NAME holds a distribution called NAME. What it registers is called NAME without "hrkit-".
    """
    from hrkit.testing.distributions import write_distribution

    folder = write_distribution(name, kind, output)
    click.echo(f"written: {folder}")
    place = shlex.quote(str(folder))
    click.echo(f"next: pip install -e {place} && hrkit plugins check {name} && pytest {place}")


@command.command(
    "check",
    epilog="""\b
Examples:
  hrkit plugins check hrkit-lite
  hrkit plugins check hrkit --part timm/resnet18 --part coco:data/coco""",
)
@click.argument("name")
@click.option(
    "--part", "parts", metavar="PART", multiple=True, help="Check only this part, by its full name.  [default: all]"
)
def check(name: str, parts: tuple[str, ...]) -> None:
    """Checks the parts of a plugin against the contract.

    Prints what is wrong and how to mend it. NAME is a plugin as `hrkit plugins` lists it, its distribution, or "hrkit"
    for hrkit's own parts. For a registered pattern, PART is a name that matches it; for a dataset it is NAME:PATH.
    Nothing is downloaded. The exit code is 1 if anything is wrong.
    """
    from hrkit.testing import examine_plugin

    part, judged, wrong = "", 0, 0
    for finding in examine_plugin(name, parts):
        if finding.part != part:
            part = finding.part
            click.echo(part)
        click.echo(f"  {finding}")
        judged += finding.verdict != "not judged"
        wrong += finding.verdict == "wrong"
    checks = "1 check" if judged == 1 else f"{judged} checks"
    click.echo(f"{wrong} of {checks} found something wrong" if wrong else f"{checks} found nothing wrong")
    if wrong:
        raise SystemExit(1)


def _list() -> None:
    plugins = registry.plugins
    brought: dict[str, list[str]] = {name: [] for name in plugins.names()}
    clashes = []
    for kind in registry.KINDS:
        try:
            entries = plugins.collect(kind).values()
        except PluginError as error:
            clashes.append(one_line(error))
            continue
        for plugin in brought:
            names = [entry.name for entry in entries if entry.plugin == plugin]
            if names:
                brought[plugin].append(f"{kind}: {_shortened(names)}")
    for plugin, lines in brought.items():
        click.echo(f"{plugin} ({plugins.versions.get(plugin, 'built in' if '.' in plugin else 'added at run time')})")
        for line in lines:
            click.echo(f"  {line}")
    for plugin, reason in plugins.failed.items():
        click.echo(f"{plugin}: FAILED, {type(reason).__name__}: {one_line(reason)}")
    for clash in clashes:
        click.echo(f"CLASH: {clash}")
    if plugins.failed or clashes:
        raise SystemExit(1)


def _shortened(names: list[str], most: int = 12) -> str:
    more = f", ... {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
