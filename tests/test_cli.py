"""The program around the commands: errors in one line, exit codes."""

from __future__ import annotations

import errno
import shlex
import signal
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import click
import PIL.Image
import pytest
from click.testing import CliRunner

from heard import hear_signals
from hrkit import __version__, hookimpl, registry
from hrkit.cli import Stopped, main
from hrkit.errors import ImageError, PluginError
from hrkit.training.run import TrainingStopped


class _Brings:
    """A plugin with one command that raises what it is told to."""

    def __init__(self, error: BaseException, name: str = "fails") -> None:
        @click.command(name, epilog=f"Example: hrkit {name}")
        def command() -> None:
            """Raises."""
            raise error

        self._command = command

    @hookimpl
    def register_commands(self) -> list[click.Command]:
        return [self._command]


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ImageError("x.jpg: no such file"), 2, "error: x.jpg: no such file\n"),
        (OSError(errno.ENOSPC, "No space left on device", "out.jpg"), 2, "No space left on device: 'out.jpg'"),
        (MemoryError("Unable to allocate 384 GiB"), 2, "error: Unable to allocate 384 GiB\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.UsageError("no"), 2, "error: no (see `"),
        (click.ClickException("one\n\ttwo"), 2, "error: one two\n"),
        (PluginError("one\n two"), 2, "error: one two\n"),
        (RuntimeError("operator torchvision::nms does not exist"), 2, "error: torchvision does not fit torch;"),
        (Stopped(signal.SIGTERM), 143, "interrupted\n"),
        (click.Abort(), 130, "interrupted\n"),
        (TrainingStopped(signal.SIGINT), 130, "stopped by signal 2; go on with --resume\n"),
        (TrainingStopped(signal.SIGTERM), 143, "stopped by signal 15; go on with --resume\n"),
    ],
)
def test_what_a_command_raises(error: BaseException, code: int, says: str) -> None:
    registry.plugins.register(_Brings(error), "brings_fails")
    try:
        result = CliRunner().invoke(main, ["fails"])
    finally:
        registry.plugins.unregister("brings_fails")
    assert result.exit_code == code
    assert result.output.endswith(says) if says.endswith("\n") else says in result.output
    assert len(result.output.splitlines()) == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("tag", "damage"), [((277, 3, 1, 3), (277, 3, 1, 278)), ((258, 3, 3, 134), (258, 3, 3, 10**6))]
)
def test_pillow_adds_nothing_to_an_error(
    tag: tuple[int, ...], damage: tuple[int, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    good, bad = (struct.pack("<HHII", *values) for values in (tag, damage))
    assert good in content
    (tmp_path / "a.tif").write_bytes(content.replace(good, bad))
    line = f"demo --backbone synthetic --detector synthetic --weights none --image {tmp_path}/a.tif --output {tmp_path}"
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        result = CliRunner().invoke(main, line.split())
    error = f"error: {tmp_path}/a.tif: is no picture, or of a kind that cannot be read"
    assert result.stderr.splitlines() == [error]
    assert not warned
    assert not caplog.records


def test_the_traceback_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRKIT_DEBUG", "1")
    registry.plugins.register(_Brings(ImageError("bad")), "brings_fails")
    try:
        assert isinstance(CliRunner().invoke(main, ["fails"]).exception, ImageError)
    finally:
        registry.plugins.unregister("brings_fails")


def test_two_plugins_with_one_command_are_a_line_not_a_traceback() -> None:
    registry.plugins.register(_Brings(ImageError("bad"), "demo"), "takes_demo")
    try:
        result = CliRunner().invoke(main, ["--help"])
    finally:
        registry.plugins.unregister("takes_demo")
    assert result.exit_code == 2
    assert "'hrkit.commands' and 'takes_demo'" in result.output
    assert isinstance(result.exception, SystemExit)


def test_interrupted_while_plugins_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def interrupt(self: registry.PluginManager) -> None:
        loads.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(registry.PluginManager, "_loaded", interrupt)
    for arguments in (["models"], ["--help"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 130
        assert result.stderr.strip() == "interrupted"
    assert len(loads) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["val"], "unknown command 'val'; `hrkit test` does that;"),
        (["demo", "a.jpg", "--conf", "0.5"], "no option --conf; boxes have --threshold and people --min-score (see"),
        (["demo", "--source", "a.jpg"], "no option --source; name the source by itself"),
    ],
)
def test_words_of_other_programs(words: list[str], says: str) -> None:
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, result.stderr.startswith(f"error: {says}")) == (2, True), result.stderr


def test_an_unknown_command() -> None:
    result = CliRunner().invoke(main, ["downlod", "yolov3"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: unknown command 'downlod'; did you mean download? choices: bench, ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["--bogus"], ["download"], ["download", "--bogus"], ["info", "x", "--joints", "0"]]
)
def test_mistakes_in_usage_are_one_line(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments, prog_name="hrkit")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "see `hrkit" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["--help"], ["models", "--help"]])
def test_help(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == (0 if arguments else 2)
    assert "Usage: " in result.output
    assert "error: " not in result.output


def test_a_result_is_no_exit_code() -> None:
    command = click.Command("gives", callback=lambda: 3)
    registry.plugins.register(SimpleNamespace(register_commands=hookimpl(lambda: [command])), "brings_gives")
    try:
        assert CliRunner().invoke(main, ["gives"]).exit_code == 0
        assert CliRunner().invoke(main, ["gives"], standalone_mode=False).exit_code == 0
    finally:
        registry.plugins.unregister("brings_gives")


def test_a_hook_that_fails_when_asked_is_a_warning() -> None:
    broken = SimpleNamespace(register_weights=hookimpl(lambda: [1 / 0]))
    registry.plugins.register(broken, "broken_weights")
    try:
        result = CliRunner().invoke(main, ["models", "yolov3_tiny"])
    finally:
        registry.plugins.unregister("broken_weights")
    assert result.exit_code == 0
    assert result.stderr == "warning: plugin 'broken_weights' is left out: division by zero (see `hrkit plugins`)\n"


@pytest.mark.slow
def test_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "hrkit", "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout


ENDLESS = """
import contextlib, os, sys, signal, time
import click
from types import SimpleNamespace
from hrkit import hookimpl, registry
from hrkit.cli import main
@click.command("count", epilog="Example: hrkit count")
def command():
    "Counts."
    try:
        click.echo("begun")
        for number in range(3):
            click.echo(number)
            print(number, file=sys.stderr)
            with contextlib.suppress(OSError):
                os.write(2, b"library")
        if sys.argv[2:]:
            os.kill(os.getpid(), getattr(signal, sys.argv.pop()))
            time.sleep(60)
    finally:
        open("ended", "w").write("kept")
registry.plugins.register(SimpleNamespace(register_commands=hookimpl(lambda: [command])), "counts")
main(sys.argv[1:2])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("count SIGTERM", 143),
        ("count SIGHUP", 129),
        ("count SIGINT", 130),
        ("count >&-", 0),
        ("count 2>&-", 0),
        ("count <&- >&- 2>&-", 0),
        ("count 2>&1 | true", 0),
        ("count SIGTERM 2>&-", 143),
        ("count > /dev/full", 2),
    ],
)
def test_a_command_ends_in_order_whatever_it_is_sent_and_whoever_listens(
    tmp_path: Path, shell: str, code: int
) -> None:
    (tmp_path / "count.py").write_text(ENDLESS)
    command, _, rest = shell.partition(" ")
    line = f"set -o pipefail; {shlex.quote(sys.executable)} count.py {command} {rest}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=hear_signals
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "ended").read_text() == "kept"
