"""`hrkit plugins`: what each plugin brings, whether it keeps the contract, and a template for a new one."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from hrkit import registry
from hrkit.commands.numbers import PATH
from hrkit.errors import HrkitError, PluginError, counted, one_line

KINDS = ("detector", "backbone", "head", "decoder", "dataset", "command")
"""The kinds that `hrkit plugins new` can write."""

WIDTH = 50
"""Letters of the longest names of checks, after which verdicts stand."""


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
@click.option("-o", "--output", type=PATH, default=Path(), help="Parent of the folder.")
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
@click.option("--here", is_flag=True, help="Check in this process, for a debugger. A part that crashes ends it.")
def check(name: str, parts: tuple[str, ...], here: bool) -> None:
    """Checks the parts of a plugin against the contract.

    Prints each check, what is wrong and how to mend it. NAME is a plugin as `hrkit plugins` lists it, its distribution,
    or "hrkit" for hrkit's own parts. For a registered pattern, PART is a name that matches it; for a dataset it is
    NAME:PATH. Nothing is downloaded. The exit code is 1 if anything is wrong, or nothing is checked.
    """
    shown, judged, wrong, begun = "", 0, 0, ""
    for event in _checked_here(name, parts) if here else _checked_apart(name, parts):
        part, check = event[:2]
        if part != shown:
            shown = part
            click.echo(part)
        if check != begun:
            click.echo(f"  {check:{WIDTH}} ", nl=False)
            sys.stdout.flush()
        begun = check
        if len(event) > 2:
            verdict, *said = event[2:]
            click.echo(": ".join(filter(None, [verdict, "; ".join(filter(None, said))])))
            judged += verdict != "not judged"
            wrong += verdict == "wrong"
            begun = ""
    checks = counted(judged, "check", "checks")
    result = f"{wrong} of {checks} found something wrong" if wrong else f"{checks} found nothing wrong"
    click.echo(result if judged else "nothing was checked; name parts with --part")
    if wrong or not judged:
        raise SystemExit(1)


def _checked_here(name: str, parts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Fields of findings: part, check, verdict, problem and advice."""
    from attrs import astuple

    from hrkit.testing import examine_plugin

    return map(astuple, examine_plugin(name, parts))


def _checked_apart(name: str, parts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The same from another process, and only part and check whenever a check begins.

    A part that ends the process is wrong, and a new process goes on with the next part.
    """
    first, ended = 0, False
    while not ended:
        arguments = [sys.executable, "-m", "hrkit.testing", str(first), name, *parts]
        part, check = f"plugin {name}", "it loads"
        safe = os.environ | {"PYTHONSAFEPATH": "1"}  # modules of the working directory are none of its business
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, encoding="utf-8", env=safe) as process:
            try:
                for line in process.stdout or ():
                    kind, *event = json.loads(line)
                    if kind == "begins":
                        first = event[0] + 1
                        part, check = event[1:]
                        yield part, check
                    elif kind == "finding":
                        yield event
                    elif kind == "error":
                        raise HrkitError(*event)
                    ended = kind == "end"
            finally:
                process.kill()
        if not ended:
            code = process.returncode
            how = signal.Signals(-code).name if code < 0 else f"the exit code {code}"
            yield part, check, "wrong", f"it ends the process with {how}", "stderr says where"
            ended = check == "it loads"


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
