"""`hrkit build-ops`: native operators, compiled for this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hrkit.ops.native import Library


@click.command("build-ops", epilog="Example: hrkit build-ops")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--verbose", is_flag=True, help="Show what the compiler says.")
def command(names: tuple[str, ...], verbose: bool) -> None:
    """Builds the native operators of hrkit and its plugins, or those of the NAMEs, once; from then on they are used.

    Needs a C++ compiler and ninja, and takes about a minute each. Without them slower versions are used. With a GPU
    and nvcc there are CUDA kernels, too.
    """
    from hrkit.registry import operators

    for name in names or operators.names():
        _build(name, operators.build(name), verbose)


def _build(name: str, library: Library, verbose: bool) -> None:
    from hrkit.errors import HrkitError, one_line
    from hrkit.ops import native

    path, lacking = library.found(), native.why_no_cuda()
    if path is not None and ("cuda" in library.devices(path) or lacking or not library.has_kernels):
        click.echo(f"{name}: there already: {path}")
    else:
        click.echo(f"{name}: building ...", err=True)
        try:
            path = library.build(verbose=verbose)
        except (OSError, RuntimeError, ImportError) as error:
            reason = one_line(error)[:300]
            raise HrkitError(f"{name} cannot be built ({reason}); what is slower stays in use") from None
        click.echo(f"{name}: built: {path}")
    if library.has_kernels:
        without = f"no: {lacking}" if lacking else "no: they failed to compile"
        click.echo(f"{name}: CUDA kernels: {'yes' if 'cuda' in library.devices(path) else without}")
