"""`hrkit info`, `hrkit doctor` and the program itself."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from hrkit import __version__
from hrkit.cli import main


def _run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_version() -> None:
    assert __version__ in _run("--version")


def test_info_adds_up() -> None:
    lines = _run("info", "hrnet_w32").splitlines()
    assert lines[0] == "hrnet_w32 at 256x192 (height x width)"
    assert "28.5 M parameters, 7.6 G multiply-adds (7.1 as the official tables count)" in lines[-1]
    rows = [line.split() for line in lines[2:-2]]
    total = lines[-2].split()
    for column in (1, 2):
        parts = sum(int(row[column].replace(",", "")) for row in rows)
        assert parts == int(total[column].replace(",", ""))
    assert any(row[0] == "backbone.stage4" for row in rows)


def test_info_takes_the_size_of_the_default_weights() -> None:
    assert "hrnet_w48 at 384x288" in _run("info", "hrnet_w48")


def test_info_of_a_detector() -> None:
    output = _run("info", "yolov3_tiny")
    assert "yolov3_tiny at 416x416" in output
    assert "8.8 M parameters" in output or "8.9 M parameters" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "hrnet_w23x"), "positive number"),
        (("info", "hrnt"), "unknown backbone 'hrnt'"),
        (("modles",), "unknown command 'modles'; did you mean models"),
        (("info", "hrnet_w32", "--input-size", "100", "100"), "multiple of 32"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_two(arguments: tuple[str, ...], message: str) -> None:
    output = _run(*arguments, code=2)
    assert message in output
    assert "Traceback" not in output


def test_doctor_names_what_it_found() -> None:
    output = _run("doctor")
    for word in ("torch", "opencv-python", "cpu", "C++", "ninja", "HRKIT_HOME", "plugins"):
        assert word in output


def test_doctor_complains_about_a_cache_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert f"{tmp_path} cannot be written: set HRKIT_HOME" in _run("doctor")
