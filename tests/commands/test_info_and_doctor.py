"""`hrkit info`, `hrkit doctor` and the program itself."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from hrkit import __version__, hookimpl, registry
from hrkit.cli import main


def _run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_version() -> None:
    assert __version__ in _run("--version")


@pytest.mark.slow
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


@pytest.mark.slow
def test_info_takes_the_size_of_the_default_weights() -> None:
    assert "hrnet_w48 at 384x288" in _run("info", "hrnet_w48")


@pytest.mark.slow
def test_info_of_a_detector() -> None:
    output = _run("info", "yolov3_tiny")
    assert "yolov3_tiny at 416x416" in output
    assert "8.8 M parameters" in output or "8.9 M parameters" in output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "hrnet_w23x"), "positive number"),
        (("info", "hrnt_w32"), "unknown backbone or detector 'hrnt_w32'; did you mean hrnet_w32"),
        (("info", "yolov3_tin"), "did you mean yolov3_tiny"),
        (("info", "yolov3", "--head", "fpn"), "yolov3 is a detector; --joints and --head are for pose networks"),
        (("info", "yolov3", "--joints", "17"), "yolov3 is a detector"),
        (("info", "yolov3_tiny", "--input-size", "100", "99"), "multiples of 32"),
        (("modles",), "unknown command 'modles'; did you mean models"),
        (("info", "hrnet_w32", "--input-size", "100", "100"), "multiple of 32"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_two(arguments: tuple[str, ...], message: str) -> None:
    output = _run(*arguments, code=2)
    assert message in output
    assert output.startswith("error: ")
    assert len(output.splitlines()) == 1


def test_doctor_names_what_it_found() -> None:
    output = _run("doctor")
    for word in ("torch", "opencv-python", "cpu", "C++", "ninja", "HRKIT_HOME", "plugins"):
        assert word in output


@pytest.mark.slow
def test_doctor_times_the_start() -> None:
    lines = _run("doctor", "--time").splitlines()
    steps = lines[1 : lines.index("packages")]
    names = [line[:18].strip() for line in steps]
    assert names == ["Python itself", "import torch", "import hrkit", "build networks", "first photo", "next photo"]
    assert all(float(line.split()[-2]) > 0 for line in steps)


def test_doctor_complains_about_a_cache_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert f"{tmp_path} cannot be written: set HRKIT_HOME" in _run("doctor")


def test_doctor_complains_about_a_cache_that_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path / "file"))
    assert f"{tmp_path / 'file'} is a file: set HRKIT_HOME to a folder" in _run("doctor")


def test_doctor_knows_every_dependency() -> None:
    output = _run("doctor")
    for requirement in importlib.metadata.requires("hrkit-pose") or ():
        if ";" not in requirement:
            assert re.split("[<>=]", requirement)[0].strip() in output


def test_doctor_tells_this_library_from_the_other_hrkit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    metadata = tmp_path / "hrkit-9.8.7.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: hrkit\nVersion: 9.8.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    (advice,) = re.findall(r"^  - the distribution hrkit .*$", _run("doctor"), re.MULTILINE)
    assert "hrkit 9.8.7 is installed" in advice
    assert "pip uninstall hrkit, then reinstall hrkit-pose" in advice


@pytest.fixture
def clash() -> Iterator[None]:
    """A plugin that brings a detector of hrkit's own name."""
    registry.plugins.register(SimpleNamespace(register_detectors=hookimpl(lambda: {"yolov3": print})), "takes-yolov3")
    yield
    registry.plugins.unregister("takes-yolov3")


@pytest.mark.slow
@pytest.mark.usefixtures("clash")
def test_a_clash_among_detectors() -> None:
    assert "hrnet_w32 at 256x192" in _run("info", "hrnet_w32")
    assert "'yolov3' is registered by both 'hrkit.detectors' and 'takes-yolov3'" in _run("doctor")


def test_info_of_a_detector_whose_network_takes_no_batch() -> None:
    detector = SimpleNamespace(detect=lambda images: [], network=nn.Identity())
    hooks = SimpleNamespace(register_detectors=hookimpl(lambda: {"theirs": lambda **options: detector}))
    registry.plugins.register(hooks, "theirs")
    try:
        output = _run("info", "theirs", code=2)
    finally:
        registry.plugins.unregister("theirs")
    assert output == "error: the detector 'theirs' cannot be exported or counted: it has no network of one input size\n"


def test_info_of_a_network_that_fails() -> None:
    class Fails(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("one\n  two")

    detector = SimpleNamespace(detect=lambda images: [], network=Fails(), input_size=8)
    hooks = SimpleNamespace(register_detectors=hookimpl(lambda: {"theirs": lambda **options: detector}))
    registry.plugins.register(hooks, "theirs")
    try:
        assert _run("info", "theirs", code=2) == "error: theirs does not run at 8x8 (one two)\n"
    finally:
        registry.plugins.unregister("theirs")
