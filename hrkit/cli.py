"""The `hrkit` program: commands from the registry, errors in one line.

Exit codes: 0 done; 1 some of several inputs failed; 2 an error that the message explains; 130 interrupted by Ctrl-C,
143 by SIGTERM, 129 by SIGHUP. A terminal or reader that is gone does not end a command.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
import warnings
from types import FrameType
from typing import Any

import click

from hrkit import __version__, registry
from hrkit.errors import TORCHVISION_MISFIT, HrkitError, UnknownNameError, one_line, shown
from hrkit.runtimes.allocator import keep_freed_memory

COMMANDS = {"predict": "demo", "track": "demo", "val": "test", "evaluate": "test", "benchmark": "bench"}
"""hrkit's command for each command of other programs."""

OPTIONS = {
    "conf": "boxes have --threshold and people --min-score",
    "imgsz": "the detector has --detector-size",
    "iou": "`hrkit test` has --nms-threshold; in Python there is nms_threshold",
    "source": "name the source by itself, as in `hrkit demo photo.jpg`",
    "model": "the pose network is --backbone, and --detector finds people",
    "half": "there is --precision float16",
    "save": "results are always saved, to the folder or file of --output",
    "save-txt": "`hrkit extract` writes keypoints",
    "h": "help is --help",
}
"""What to use in hrkit instead of an option of other programs."""

_HELP_ERRORS = getattr(click.exceptions, "NoArgsIsHelpError", ())  # newer versions of click raise the help


class Stopped(KeyboardInterrupt):
    """The process was asked to end by `signal_number`."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


class Program(click.Group):
    """A group of the registered commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.commands.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = registry.commands.entries().get(cmd_name)
        return None if entry is None else entry.value

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            hint = f"`hrkit {COMMANDS[args[0]]}` does that" if args[0] in COMMANDS else registry.where_else(args[0])
            raise UnknownNameError("command", args[0], self.list_commands(ctx), hint=hint) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("standalone_mode", True):
            return super().main(*args, **kwargs)
        _bear_closed_streams()
        _stop_on_signals()
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except _HELP_ERRORS as error:
            error.show()
        except click.ClickException as error:
            click.echo(f"error: {_with_help(error)}", err=True)
        except (KeyboardInterrupt, click.Abort) as stop:
            sys.exit(_stopped(stop.__cause__ or stop))
        except (HrkitError, OSError, MemoryError) as error:
            if os.environ.get("HRKIT_DEBUG"):
                raise
            click.echo(f"error: {one_line(error)}", err=True)
        except RuntimeError as error:
            if "torchvision::" not in str(error):  # an operator that it registers
                raise
            click.echo(f"error: {TORCHVISION_MISFIT}", err=True)
        sys.exit(2)

    def invoke(self, ctx: click.Context) -> None:
        """Runs the command and drops its result, which `main` would take for an exit code."""
        try:
            told = _warn(set())
            try:
                super().invoke(ctx)
            finally:
                _warn(told)  # some hooks fail only when the command asks for them
        except KeyboardInterrupt as stop:  # click would print an empty line first
            sys.exit(_stopped(stop))


def _stop_on_signals() -> None:
    """Makes SIGTERM and SIGHUP end the command as Ctrl-C does, unless they are ignored, as with nohup."""
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a worker that was forked
            os._exit(128 + number)
        raise Stopped(number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, stop)


class _Bearing(io.FileIO):
    """A standard stream that drops what nobody can read any more. Another problem, such as a full disk, is raised once.

    What could not be written is written again at the end of the process, so raising again would hide the exit code.
    """

    raised = False

    def write(self, data: Any, /) -> int:  # Any: a buffer
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO) and not self.raised:  # EIO: the terminal is gone
                self.raised = True
                raise
            return len(memoryview(data))


def _bear_closed_streams() -> None:
    """Lets the command run on if stdout or stderr are closed, now or later."""
    if os.name != "posix":
        return
    for number in range(3):  # a file of the command must not take the number of a stream, where libraries write
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)
    for number, name in enumerate(("stdout", "stderr"), 1):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError):  # a stream of a test or notebook is no file
            if stream is None or stream.fileno() == number:
                raw = _Bearing(number, "w", closefd=False)
                encoding, errors = (stream.encoding, stream.errors) if stream else ("utf-8", "replace")
                setattr(sys, name, io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=True))


def _warn(told: set[str]) -> set[str]:
    """Warns about failed plugins that are not in `told`. Returns all that were warned about so far."""
    failed = {name: error for name, error in registry.plugins.failed.items() if name not in told}
    for name, error in failed.items():
        click.echo(f"warning: plugin {name!r} is left out: {one_line(error)} (see `hrkit plugins`)", err=True)
    return told | failed.keys()


def _stopped(stop: BaseException) -> int:
    """Prints the message of the error that ended the command, if it has one, and returns the exit code."""
    click.echo(" ".join(str(stop).split()) or "interrupted", err=True)
    return 128 + int(getattr(stop, "signal_number", signal.SIGINT))


def _with_help(error: click.ClickException) -> str:
    """The message of a usage error in one line, with the command that prints the help."""
    message = shown(" ".join(error.format_message().split()))
    if isinstance(error, click.NoSuchOption) and error.option_name.lstrip("-") in OPTIONS:
        message = f"no option {error.option_name}; {OPTIONS[error.option_name.lstrip('-')]}"
    context = getattr(error, "ctx", None)
    return message if context is None else f"{message.rstrip('.')} (see `{context.command_path} --help`)"


@click.command(cls=Program, context_settings={"max_content_width": 100, "show_default": True})
@click.version_option(__version__, prog_name="hrkit")
def main() -> None:
    """People and their keypoints in pictures and videos.

    Set HRKIT_DEBUG=1 to see the traceback behind an error.

    Example: hrkit demo photo.jpg
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("hrkit").setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    if not os.environ.get("HRKIT_DEBUG"):
        logging.getLogger("PIL").setLevel(logging.CRITICAL)  # its errors are raised too
        if not sys.warnoptions:
            warnings.simplefilter("ignore")  # those of libraries are for developers
    keep_freed_memory()
