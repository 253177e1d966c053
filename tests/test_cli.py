"""The program around the commands: errors in one line, exit codes."""

from __future__ import annotations

import errno

import click
import pytest
from click.testing import CliRunner

from hrkit import hookimpl, registry
from hrkit.cli import main
from hrkit.errors import ImageError


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
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.UsageError("no"), 2, "no"),
    ],
)
def test_what_a_command_raises(error: BaseException, code: int, says: str) -> None:
    registry.plugins.register(_Brings(error), "brings_fails")
    try:
        result = CliRunner().invoke(main, ["fails"])
    finally:
        registry.plugins.unregister("brings_fails")
    assert result.exit_code == code
    assert says in result.output
    assert "Traceback" not in result.output


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
