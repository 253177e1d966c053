"""Whole plugins: hrkit's own parts pass, strangers' are found out, and `hrkit plugins check` says which."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from hrkit import Detections, hookimpl, registry
from hrkit.cli import main
from hrkit.errors import UnknownNameError
from hrkit.images import write_image
from hrkit.synthetic import SyntheticDetector, paint_people
from hrkit.testing import check_plugin, check_weights, describe, examine_plugin
from hrkit.testing.report import raised
from hrkit.weights.catalogue import WeightsEntry

OWN = (
    *("hrnet_w2", "pose_resnet_18", "timm/resnet10t", "synthetic", "yolov3_tiny"),
    *("heatmap", "deconv", "fpn", "msra", "dark", "udp", "demo", "plugins", "hrnet_w32-coco-256x192"),
    *("onnx", "openvino", "local"),
)
"""Parts of hrkit that stand for all: small ones of each family."""


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small networks."""


@pytest.mark.slow
@pytest.mark.parametrize("part", OWN)
def test_hrkits_own_parts_keep_the_contract(shallow: None, part: str) -> None:
    findings = list(examine_plugin("hrkit", [part]))
    if findings[0].problem.startswith("it cannot be built here: not installed"):
        pytest.skip(findings[0].problem)
    assert sum(finding.verdict == "ok" for finding in findings) >= 3
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    assert not wrong, describe(wrong)


def test_hrkits_own_datasets_keep_the_contract(painted_coco: Path, tmp_path: Path) -> None:
    (annotations,) = painted_coco.glob("*.json")
    names = [f"joint {index}" for index in range(17)]
    (tmp_path / "own.toml").write_text(
        f'keypoints = {names}\n[train]\nannotations = "{annotations}"\nimages = "{painted_coco}/images"'
    )
    made_mpii(tmp_path)
    places = [f"coco:{painted_coco}", f"custom:{tmp_path / 'own.toml'}", f"mpii:{tmp_path}"]
    findings = list(examine_plugin("hrkit", places))
    assert sum(finding.check == "pickled for workers" for finding in findings) == 3
    unsure = ("left and right", "people are in pictures of their own")  # too few painted people
    judged = [finding for finding in findings if finding.check not in unsure]
    assert {finding.verdict for finding in judged} == {"ok"}, describe(findings)


def made_mpii(folder: Path) -> None:
    """One painted person in MPII's format, whose box, a square about the centre, leaves the picture."""
    joints = np.random.default_rng(0).uniform(20, 100, (16, 2))
    write_image(folder / "images" / "one.png", paint_people((120, 160), [joints]))
    person = {"image": "one.png", "center": [60, 60], "scale": 0.8, "joints": joints.tolist(), "joints_vis": [1] * 16}
    (folder / "annot").mkdir()
    (folder / "annot" / "train.json").write_text(json.dumps([person]))


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Registers hooks, given what each brings, as the plugin `mine`."""

    def add(**brought: Any) -> None:
        hooks = {f"register_{kind}": hookimpl(lambda value=value: value) for kind, value in brought.items()}
        registry.plugins.register(SimpleNamespace(**hooks), "mine")

    yield add
    registry.plugins.unregister("mine")


def checks(*parts: str) -> list[str]:
    """What is wrong with the plugin `mine`."""
    return [f"{finding.part}: {finding.check}" for finding in check_plugin("mine", parts)]


class NeedsOptions(SyntheticDetector):
    def __init__(self, *, weights=None):
        super().__init__()


class ReadsAnything(SyntheticDetector):
    def __init__(self, *, weights=None, threshold=None, nms_threshold=None):
        super().__init__()
        if weights is not None:
            weights.read_text().index("magic")


class AnyThreshold(SyntheticDetector):
    """Takes no notice of it."""

    def __init__(self, *, weights=None, threshold=None, nms_threshold=None):
        super().__init__()

    def detect(self, images):
        found = super().detect(images)
        return [Detections(one.xyxy, 1 / (1 + np.arange(len(one))), one.class_ids) for one in found]


class SameScores(AnyThreshold):
    """All of one score, whatever the threshold is."""

    def detect(self, images):
        found = SyntheticDetector.detect(self, images)
        return [Detections.from_boxes(one.xyxy, np.full(len(one), 0.5)) for one in found]


class MoreOfMore(AnyThreshold):
    """The higher the threshold, the more boxes."""

    def __init__(self, *, weights=None, threshold=None, nms_threshold=None):
        super().__init__()
        self.scores = np.linspace(1, threshold or 0.5, 4 if threshold and threshold > 0.05 else 2)

    def detect(self, images):
        count = len(self.scores)
        return [Detections.from_boxes([[0, 0, *image.shape[1::-1]]] * count, self.scores) for image in images]


def no_licence(*arguments, **options):
    sys.exit("no licence")


def takes_a_thread():
    torch.set_num_threads(torch.get_num_threads() + 1)


class TwoLines(SyntheticDetector):
    def __init__(self, *, weights=None, threshold=None, nms_threshold=None):
        super().__init__()
        if weights is not None:
            raise OSError(f"Traceback:\n{weights}")


TAKES_THREADS = ["backbone b: it is a backbone", "backbone b: the process stays as it is"]
TAKES = "builder takes weights, threshold and nms_threshold"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("brought", "wrong"),
    [
        ({"detectors": {"d": NeedsOptions}}, [f"detector d: {TAKES}"]),
        ({"detectors": {"d": ReadsAnything}}, ["detector d: damaged weights"]),
        ({"detectors": {"d": TwoLines}}, ["detector d: damaged weights"]),
        ({"detectors": {"d": AnyThreshold}}, ["detector d: threshold"]),
        ({"detectors": {"d": MoreOfMore}}, ["detector d: threshold"]),
        ({"detectors": {"d": SameScores}}, ["detector d: threshold"]),
        ({}, ["plugin mine: it brings something"]),
        ({"backbones": {"b": takes_a_thread}}, TAKES_THREADS),
        (
            {"backbones": {"b": no_licence}, "heads": {"b": lambda **_: None}, "datasets": {"s": no_licence}},
            ["backbone b: it is built", "head b: it is built", "dataset s: path that is not there"],
        ),
        (
            {"backbones": {"b": {"a": 1}.pop}, "heads": {"b": lambda **_: None, "h": lambda **_: None}},
            ["backbone b: it is built", "head b: it is built", "head h: it is a head"],
        ),
        ({"detectors": {"d": no_licence}}, [f"detector d: {TAKES}", "detector d: it is built"]),
        ({"detectors": {"d": lambda **_: SimpleNamespace()}}, ["detector d: it is built"]),
        ({"backbones": {"b": lambda name: nn.Identity()}}, ["backbone b: it is built"]),
        ({"backbones": {"b": nn.Identity}}, ["backbone b: it is a backbone"]),
        ({"heads": {"h": lambda **_: None}}, ["head h: it is a head"]),
        ({"decoders": {"c": lambda **_: None}}, ["decoder c: it is a codec"]),
        ({"datasets": {"s": lambda split: None}}, ["dataset s: it is a dataset"]),
        ({"datasets": {"s": lambda path, *, split: {}[path]}}, ["dataset s: path that is not there"]),
        ({"datasets": {"s": lambda path=None: None}}, ["dataset s: it is built"]),
        (
            {
                "weights": [
                    WeightsEntry("w", "no such backbone", url="https://example.org/w", checksum="sha256:01234567")
                ]
            },
            ["weights w: its names are registered"],
        ),
        ({"weights": [WeightsEntry("w", "hrnet_w32", file="none.pth")]}, ["weights w: the carried file loads"]),
        ({"commands": [click.Command("kit-silent")]}, ["command kit-silent: help"]),
    ],
)
def test_what_is_wrong_with_a_plugin(register: Callable[..., None], brought: dict[str, Any], wrong: list[str]) -> None:
    register(**brought)
    assert checks()[: len(wrong)] == wrong


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"checksum": "sha256:deadbeef"}, "has the checksum sha256:"),
        ({"checksum": "sha1:deadbeef"}, "has the checksum sha1:"),
        ({"size": 5}, "has 6 bytes, not 5"),
        ({"checksum": f"sha256:{hashlib.sha256(b'values').hexdigest()[:10].upper()}", "size": 6}, None),
        ({}, None),
    ],
)
def test_a_carried_file_is_the_one_that_is_meant(said: dict[str, Any], problem: str | None, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"values")
    findings = check_weights(WeightsEntry("w", "hrnet_w32", file=tmp_path / "w.pth", **said))
    found = [finding.problem for finding in findings if finding.check == "checksum"]
    assert len(found) == (problem is not None)
    assert all(str(problem) in one for one in found)


def test_a_dataset_without_a_path_is_not_asked_for_one(register: Callable[..., None]) -> None:
    register(datasets={"s": lambda *, split: None})
    first, built, second, *effects = examine_plugin("mine")
    assert (first.check, first.verdict) == ("path that is not there", "not judged")
    assert (second.check, second.verdict) == ("it is a dataset", "wrong")
    assert {finding.verdict for finding in (built, *effects)} == {"ok"}


def test_names_that_clash_and_hooks_that_fail(register: Callable[..., None]) -> None:
    register(detectors={"yolov3": SyntheticDetector}, commands=None)
    assert checks() == ["plugin mine: names of detectors are free", "plugin mine: it loads"]
    (clash, failure) = check_plugin("mine")
    assert "'hrkit.detectors' and 'mine'" in clash.problem
    assert "register_commands returns NoneType" in failure.problem


@pytest.mark.slow
def test_patterns_and_paths_want_a_name(register: Callable[..., None]) -> None:
    register(
        detectors={"kit/*": lambda text, **options: SyntheticDetector(**options)},
        datasets={"s": lambda path, split: {}},
    )
    said = {finding.part: finding for finding in examine_plugin("mine") if finding.verdict == "not judged"}
    assert said["detector kit/*"].problem.endswith("--part kit/NAME")
    assert said["dataset s"].problem.endswith("--part s:PATH")
    assert checks("kit/one") == []
    with pytest.raises(UnknownNameError, match=r"unknown part of mine 'yolov3'; choices: kit/\*, s"):
        checks("yolov3")


class Broken:
    def __init__(self, **options: Any) -> None:
        pass

    def detect(self, images: Any) -> Any:
        return [Detections([[0, 0, 5000, 5000]], [0.5], [0]) for _ in images]


@pytest.mark.slow
def test_the_command(register: Callable[..., None]) -> None:
    register(detectors={"good": SyntheticDetector, "broken": Broken})
    run = CliRunner()
    good = run.invoke(main, ["plugins", "check", "mine", "--here", "--part", "good"])
    assert good.exit_code == 0, good.output
    assert good.output.splitlines()[0] == "detector good"
    assert re.search(r"\n  no frames +ok\n", good.output)
    assert good.output.endswith("checks found nothing wrong\n")
    broken = run.invoke(main, ["plugins", "check", "mine", "--here"])
    assert broken.exit_code == 1
    assert re.search("\n  boxes are inside the frame +wrong: a photo", broken.output)
    assert "clip boxes" in broken.output
    assert broken.output.endswith("checks found something wrong\n")
    unknown = run.invoke(main, ["plugins", "check", "hrkit-lit", "--here"])
    assert unknown.exit_code == 2
    assert unknown.stderr.startswith("error: unknown plugin 'hrkit-lit'; ")


CRASHES = """
import ctypes
import click
from hrkit import hookimpl

@hookimpl
def register_backbones():
    return {"a": lambda: ctypes.string_at(0)}

@hookimpl
def register_commands():
    return [click.Command("c", help="Fine.")]
"""


@pytest.mark.slow
def test_a_part_that_crashes_is_wrong_and_the_next_is_checked(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("a file of the working directory", encoding="utf-8")
    site, metadata = tmp_path / "site", tmp_path / "site" / "crashing-0.1.dist-info"
    metadata.mkdir(parents=True)
    (site / "crashing.py").write_text(CRASHES, encoding="utf-8")
    (metadata / "METADATA").write_text("Name: crashing\nVersion: 0.1", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[hrkit]\ncrashing = crashing", encoding="utf-8")
    path = os.pathsep.join(str(Path(entry).resolve()) for entry in [site, *sys.path])
    said = subprocess.run(
        [sys.executable, "-c", "from hrkit.cli import main; main()", "plugins", "check", "crashing"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", "HRKIT_PLUGINS": "crashing"},
    )
    assert said.returncode == 1, said.stderr
    assert re.search("backbone a\n  it is built +wrong: it ends the process with SIGSEGV", said.stdout)
    assert re.search("command c\n(  .* +ok\n)+1 of 8 checks found something wrong\n$", said.stdout)
    assert "Segmentation fault" in said.stderr
    assert "crashing.py" in said.stderr


def test_a_distributions_name_stands_for_its_plugins(
    monkeypatch: pytest.MonkeyPatch, register: Callable[..., None]
) -> None:
    register(detectors={"good": SyntheticDetector})
    monkeypatch.setitem(registry.plugins.versions, "mine", "Hrkit_Mine 0.1.0")
    for name in ("mine", "hrkit-mine", "Hrkit_Mine"):
        assert next(examine_plugin(name)).part == "detector good"


@pytest.mark.parametrize("name", ["hrkit", "hrkit-pose"])
def test_hrkits_own_parts_have_the_names_of_the_package_and_of_the_distribution(name: str) -> None:
    assert next(examine_plugin(name, ["doctor"])).part == "command doctor"


def test_an_error_of_a_part_says_where() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0
    assert re.fullmatch(r"raises ZeroDivisionError: division by zero \(test_plugins\.py:\d+\)", raised(caught.value))
