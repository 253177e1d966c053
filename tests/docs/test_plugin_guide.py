"""The files of docs/plugins.md are written, installed and run as the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hrkit.testing.distributions import write_distribution

pytest.importorskip("setuptools", reason="building a distribution needs setuptools")

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
PROGRAM = "from hrkit.cli import main; main()"

EXAMPLES = """
from types import SimpleNamespace

import hrkit_examples
import numpy as np
import torch
from click.testing import CliRunner
from hrkit import Pipeline, create_detector, create_pose_model, list_names, registry
from hrkit.weights import catalogue
from hrkit.cli import main
from hrkit.datasets.base import KeypointDataset
from hrkit.heads.codecs import create_codec
from hrkit.testing import check_plugin, describe

registry.plugins.register(hrkit_examples, "examples")
frame = np.zeros((120, 60, 3), np.uint8)
assert create_detector("middle").detect([frame])[0].xyxy.tolist() == [[15, 30, 45, 90]]
assert create_detector("middle/third").detect([frame])[0].xyxy.tolist() == [[20, 40, 40, 80]]
assert "middle/*" not in list_names("detectors")
pipeline = Pipeline.from_names("patches", "middle", weights=None, device="cpu")
assert pipeline(frame).keypoints.shape == (1, 17, 2)
pipeline = Pipeline.from_names("patches", "middle", weights=None, head="linear", decoder="sharp", device="cpu")
assert pipeline(frame).keypoints.shape == (1, 17, 2)
pipeline = Pipeline.from_names("patches", weights=None, head="middles", device="cpu")
assert pipeline(frame).keypoints[0, 0].tolist() == [30, 60]
codec = create_codec("sharp", input_size=(256, 192), heatmap_size=(64, 48), sigma=2)
truth = torch.tensor([[[70.3, 121.9]]])
heatmaps, _ = codec.encode(truth, torch.ones(1, 1))
assert (codec.decode(heatmaps)[0] - truth).abs().max() < 0.5
assert isinstance(registry.datasets.builder("no_people")(), KeypointDataset)
network = create_pose_model("patches", head="linear").requires_grad_(False)
images = torch.rand(2, 3, *network.input_size)
runtime = registry.runtimes.build("autocast", network=network, example=images[:1], precision="auto")
assert runtime(images).dtype == torch.float32
assert 0 < (runtime(images) - network(images)).abs().max() < 0.1
assert catalogue.choose("patches").name == "patches-coco"
job = SimpleNamespace(load=lambda: lambda names: names)
assert list(registry.engines.build("backwards", ["a", "b"], job)) == ["b", "a"]
assert CliRunner().invoke(main, ["hello"]).output == "hello from a plugin\\n"
assert not registry.plugins.failed
for findings in (check_plugin("backdrop"), check_plugin("examples"), check_plugin("examples", ["middle/third"])):
    assert not findings, describe(findings)
"""


def files():
    """The guide's files by path; blocks that begin with the same path belong to one file."""
    found = {}
    for language, block in BLOCKS:
        if language in ("python", "toml"):
            path, _, content = block.partition("\n")
            path = path.removeprefix("# ")
            found[path] = f"{found[path]}\n\n{content}" if path in found else content
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of the guide, after a `pip install` into its subfolder `site`."""
    folder = tmp_path_factory.mktemp("guide")
    for name, content in files().items():
        path = folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content, encoding="utf-8")
    install(folder, "./hrkit-backdrop")
    return folder


def install(folder, distribution):
    flags = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", "site", distribution]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr


def python(folder, *arguments, plugin="backdrop"):
    path = [folder / "site", folder / "hrkit-backdrop", ROOT]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "HRKIT_PLUGINS": plugin}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_has_a_place():
    assert {language for language, _ in BLOCKS} == {"", "python", "sh", "toml"}
    assert set(files()) == {
        "hrkit-backdrop/pyproject.toml",
        "hrkit-backdrop/hrkit_backdrop.py",
        "hrkit-backdrop/hrkit_examples.py",
        "hrkit-spotlight/hrkit_spotlight/__init__.py",
        "hrkit-spotlight/tests/test_hrkit_spotlight.py",
        "use.py",
        "at_run_time.py",
    }


@pytest.mark.slow
def test_plugins_lists_it_as_shown(folder):
    (shown,) = [block for language, block in BLOCKS if not language and block.startswith("backdrop (")]
    assert shown in python(folder, "-c", PROGRAM, "plugins")


@pytest.mark.slow
def test_the_generated_detector_keeps_the_contract(folder):
    """`plugins new` writes what the guide shows; once installed, it passes its own test and the check."""
    (words,) = re.findall(r"^hrkit plugins new (\S+) --kind (\S+)$", GUIDE, re.MULTILINE)
    written = write_distribution(*words, folder / "new")
    for name, content in files().items():
        if name.startswith("hrkit-spotlight/"):
            assert (written.parent / name).read_text() == content
    assert len((written / "hrkit_spotlight" / "__init__.py").read_text().splitlines()) <= 25
    install(folder, "./new/hrkit-spotlight")
    (shown,) = [block for language, block in BLOCKS if not language and block.startswith("detector spotlight")]
    both = f"import pytest; pytest.main(['-p', 'no:cacheprovider', {str(written)!r}]); {PROGRAM}"
    said = python(folder, "-c", both, "plugins", "check", "hrkit-spotlight", plugin="spotlight")
    assert "2 passed" in said
    assert shown in said
    assert said.endswith("checks found nothing wrong\n")


@pytest.mark.slow
def test_use_and_the_command_line(folder):
    (line,) = re.findall(r"^hrkit (demo .*)$", GUIDE, re.MULTILINE)
    both = f"import runpy; runpy.run_path('use.py', run_name='__main__'); {PROGRAM}"
    said = python(folder, "-c", both, *line.split())
    assert said.startswith("2 people\n")
    assert "people.png: 2 people" in said


@pytest.mark.slow
def test_other_hooks(folder):
    python(folder, "-c", EXAMPLES)


@pytest.mark.slow
def test_at_run_time(folder):
    python(folder, "at_run_time.py")
