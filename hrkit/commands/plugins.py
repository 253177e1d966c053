"""`hrkit plugins`: who brought what."""

from __future__ import annotations

import click


@click.command("plugins", epilog="Example: HRKIT_PLUGINS=lite hrkit plugins")
def command() -> None:
    """Lists plugins, what each brought, and which failed and why.

    HRKIT_PLUGINS=name,name allows only those; HRKIT_PLUGINS= (empty) allows none.
    """
    from hrkit.errors import PluginError, one_line
    from hrkit.registry import KINDS, plugins

    brought: dict[str, list[str]] = {name: [] for name in plugins.names()}
    clashes = []
    for kind in KINDS:
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
