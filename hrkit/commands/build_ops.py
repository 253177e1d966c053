"""`hrkit build-ops`: hrkit's own operators, compiled for this machine."""

from __future__ import annotations

import click


@click.command("build-ops", epilog="Example: hrkit build-ops")
@click.option("--verbose", is_flag=True, help="Show what the compiler says.")
def command(verbose: bool) -> None:
    """Builds hrkit's own operators, once; from then on they are used.

    Needs a C++ compiler and ninja, and takes about a minute. Without them hrkit uses torch's operators. With a GPU and
    nvcc there are CUDA kernels, too.
    """
    from hrkit import native
    from hrkit.errors import HrkitError, one_line

    path, lacking = native.found(), native.why_no_cuda()
    if path is not None and ("cuda" in native.devices(path) or lacking):
        click.echo(f"there already: {path}")
    else:
        click.echo("building ...", err=True)
        try:
            path = native.build_library(verbose=verbose)
        except (OSError, RuntimeError, ImportError) as error:
            raise HrkitError(f"cannot be built ({one_line(error)[:300]}); torch's operators stay in use") from None
        click.echo(f"built: {path}")
    without = f"no: {lacking}" if lacking else "no: they failed to compile"
    click.echo(f"CUDA kernels: {'yes' if 'cuda' in native.devices(path) else without}")
