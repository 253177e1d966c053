"""What is published of a run: its card, and a folder of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hrkit import create_pose_model
from hrkit.cli import main
from hrkit.errors import HrkitError
from hrkit.files import reserved
from hrkit.training.publishing import FILES, model_card, publish, read_run
from hrkit.training.run import train
from tiny_runs import tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, painted_coco: Path) -> Path:
    """A run that was trained and tested."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(tiny_config(painted_coco, folder, epochs=1, validation=f"coco:{painted_coco}", learning_rate=0.002))
    weights = str(folder / "best.safetensors")
    options = ["--weights", weights, "--dataset", f"coco:{painted_coco}", "--workers", "0", "--device", "cpu"]
    report = ["--output", str(folder / "report"), "--flip-test"]
    tested = CliRunner().invoke(main, ["test", "--backbone", "timm/test_resnet", *options, *report])
    assert tested.exit_code == 0, tested.output
    return folder


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    """The values in front of a card, and its text."""
    front, _, text = (folder / "README.md").read_text().removeprefix("---\n").partition("---\n")
    return yaml.safe_load(front), text


@pytest.mark.slow
def test_the_card_says_what_the_run_says(run: Path, tmp_path: Path, painted_coco: Path) -> None:
    target = tmp_path / "new" / "published"
    done = CliRunner().invoke(main, ["publish", str(run), "--to", str(target), "--licence", "cc-by-4.0"])
    assert done.exit_code == 0, done.output
    assert f"use it: hrkit demo photo.jpg --backbone timm/test_resnet --weights {target}\n" in done.output
    assert {path.name for path in target.iterdir()} == set(FILES)
    assert [path.name for path in target.parent.iterdir()] == ["published"]
    front, text = card_of(target)
    assert front == {
        "library_name": "hrkit",
        "pipeline_tag": "keypoint-detection",
        "license": "cc-by-4.0",
        "tags": ["pose-estimation", "human-pose", "timm/test_resnet"],
    }
    report = json.loads((run / "report" / "report.json").read_text())
    assert f"| {report['AP']:.3f} | {report['AP50']:.3f} |" in text
    assert "12 people, boxes annotated, with flip test, `msra`" in text
    assert "| learning rate | 0.002 |" in text
    assert "17 (coco17): nose, left_eye" in text
    for place in (run, tmp_path, painted_coco):
        assert not any(str(place) in (target / name).read_bytes().decode("latin-1") for name in FILES[1:])
    model = create_pose_model("timm/test_resnet", weights=target / "model.safetensors", input_size=None)
    assert model.input_size == (64, 64)


@pytest.mark.slow
def test_the_use_on_the_card_works(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "published"
    publish(run, target)
    (code,) = re.findall(r"```python\n(.*?)```", (target / "README.md").read_text(), re.DOTALL)
    code = code.replace("lite_person", "synthetic").replace('"photo.jpg"', "frame")
    monkeypatch.chdir(target)
    names: dict[str, Any] = {}
    exec(f"import numpy as np\nframe = np.full((64, 64, 3), 200, np.uint8)\n{code}", names)
    assert len(names["poses"]) == 1


def test_without_a_report_the_log_has_to_do(run: Path, tmp_path: Path) -> None:
    untested = tmp_path / "untested"
    shutil.copytree(run, untested, ignore=shutil.ignore_patterns("report"))
    read = read_run(untested)
    card = model_card(read, "hf-hub:owner/name")
    assert f"AP {read.training['AP']:.3f} on the people it was validated with" in card
    assert "license" not in card


@pytest.mark.parametrize("there", ["file", "folder with something", "link to nowhere"])
def test_what_is_there_stays(run: Path, tmp_path: Path, there: str) -> None:
    target = tmp_path / "published"
    if there == "file":
        target.write_text("mine")
    elif there == "link to nowhere":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
        (target / "mine.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(HrkitError, match="is there already; name a new folder"):
        publish(run, target)
    assert sorted(tmp_path.rglob("*")) == before


def test_two_runs_do_not_publish_to_one_folder(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "published"
    with reserved(target), pytest.raises(HrkitError, match="published: another run is writing there"):
        publish(run, target)
    assert not any(tmp_path.iterdir())


def test_an_empty_folder_stays_the_one_that_it_is(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("working", "linked", "named"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("linked", target_is_directory=True)
    monkeypatch.chdir(tmp_path / "working")
    for to, folder in ((".", "working"), (tmp_path / "link", "linked"), ("../named", "named")):
        number = (tmp_path / folder).stat().st_ino
        assert publish(run, to) == str(to)
        assert {path.name for path in (tmp_path / folder).iterdir()} == set(FILES)
        assert (tmp_path / folder).stat().st_ino == number
    assert (tmp_path / "link").is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"working", "linked", "named", "link"}
    with pytest.raises(HrkitError, match=r"^the name of the folder to publish to is empty$"):
        publish(run, "")


def test_what_cannot_be_published(run: Path, tmp_path: Path) -> None:
    with pytest.raises(HrkitError, match=r"no run with weights to publish \(no best.safetensors\)"):
        publish(tmp_path, tmp_path / "published")
    with pytest.raises(HrkitError, match="no report there"):
        publish(run, tmp_path / "published", report=tmp_path)
    (tmp_path / "report.json").write_text(json.dumps({"model": "lite", "head": "lite", "input_size": [256, 192]}))
    with pytest.raises(HrkitError, match=r"another network \(lite, lite, \[256, 192\]\), not of timm/test_resnet"):
        publish(run, tmp_path / "published", report=tmp_path)
    with pytest.raises(HrkitError, match="is not an address of the Hub"):
        publish(run, "hf-hub:name")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
