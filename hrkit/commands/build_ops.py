"""`hrkit build-ops`: compile the native operators for this machine."""

from __future__ import annotations

import click


@click.command("build-ops", epilog="Example: hrkit build-ops")
@click.option("--verbose", is_flag=True, help="Show the compiler's output.")
def command(verbose: bool) -> None:
    """Compiles native NMS and OKS for this machine, once; hrkit uses them from then on.

    Needs a C++ compiler and ninja, and takes about a minute. Without native operators hrkit uses torch's, which are
    slower. With a GPU and nvcc it also compiles CUDA kernels.
    """
    from hrkit.errors import HrkitError, one_line
    from hrkit.ops import native

    library, lacking = native.found(), native.why_no_cuda()
    if library is not None and (lacking or "cuda" in native.devices(library)):
        click.echo(f"there already: {library}")
    else:
        click.echo("building ...", err=True)
        try:
            library = native.build_library(verbose=verbose)
        except (OSError, RuntimeError, ImportError) as error:
            reason = one_line(error)[:300]
            raise HrkitError(f"native operators cannot be built ({reason}); torch's stay in use") from None
        click.echo(f"built: {library}")
    without = f"no: {lacking or 'they failed to compile'}"
    click.echo(f"CUDA kernels: {'yes' if 'cuda' in native.devices(library) else without}")
