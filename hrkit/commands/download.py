"""`hrkit download`: weights into the cache, before they are needed."""

from __future__ import annotations

import click

from hrkit.errors import HrkitError, one_line
from hrkit.weights import catalogue, hub


@click.command(
    "download",
    epilog="""\b
Examples:
  hrkit download hrnet_w32-coco-256x192 yolov3
  HRKIT_HOME=/data/hrkit hrkit download yolov3_tiny""",
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(names: tuple[str, ...], quiet: bool) -> None:
    """Downloads the weights called NAME (see `hrkit models`) and prints the path of each file.

    A file in the cache is checked and not downloaded again, and an interrupted download goes on. The cache is the
    folder of the environment variable HRKIT_HOME, or else the user's cache folder. A NAME may also be
    hf-hub:owner/name[@revision], which goes to the cache of huggingface_hub.
    """
    # all names are checked first, so that a typo is not found after a long download
    entries = [hub.Address.parse(name) if hub.is_address(name) else catalogue.find(name) for name in names]
    failed = 0
    for entry in entries:
        try:
            if isinstance(entry, hub.Address):
                click.echo(hub.fetch(str(entry), progress=not quiet))
            else:
                click.echo(catalogue.fetch(entry, progress=not quiet))
        except (HrkitError, OSError) as error:
            if len(entries) == 1:
                raise
            click.echo(f"error: {one_line(error)}", err=True)
            failed += 1
    if failed:
        click.echo(f"{failed} of {len(entries)} failed", err=True)
        raise SystemExit(1)
