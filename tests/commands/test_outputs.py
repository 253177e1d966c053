"""No command writes over what it reads, whatever the path is called."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from hrkit.cli import main
from hrkit.images import write_image
from made_coco import make_coco, write_json
from walking import walk

SYNTHETIC = "--backbone synthetic --weights none --device cpu"
DEMO = f"demo {SYNTHETIC} --detector synthetic"
TEST = f"test {SYNTHETIC} --workers 0 --overwrite --dataset coco:data"
PREDICTIONS = "report/predictions.json"

needs_onnx = pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is None, reason="needs onnxruntime")
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that commands read, with links to them, in the working folder."""
    monkeypatch.chdir(tmp_path)
    make_coco(tmp_path / "data", pictures=2, people=1)
    for number, image in enumerate(walk(2)[0]):
        write_image(f"frames/{number}.png", image)
    Path("config.jpg").write_text('datasets = ["coco:data"]')
    Path("mine.onnx").write_bytes(b"weights")
    Path("mine.bin").write_bytes(b"weights")
    write_json(Path("report/predictions.json"), [])
    Path("link.png").symlink_to("data/images/001.png")
    os.link("data/images/001.png", "twin.png")
    Path("linked").symlink_to("frames")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "output", "read"),
    [
        (f"{DEMO} --video frames --output frames/1.png", "frames/1.png", "frames/1.png"),
        (f"{DEMO} --video linked --output ./frames/0.png", "frames/0.png", "linked/0.png"),
        (f"{DEMO} --video twin.png --output link.png", "link.png", "twin.png"),
        pytest.param("export lite --weights mine.onnx -o ./mine.onnx", "mine.onnx", "mine.onnx", marks=needs_onnx),
        pytest.param("export lite --weights mine.bin -o mine.xml", "mine.bin", "mine.bin", marks=needs_openvino),
        ("browse --dataset coco:data --output data/images/002.png", "data/images/002.png", "data/images/002.png"),
        ("browse --dataset coco:data --output twin.png", "twin.png", "data/images/001.png"),
        ("browse --config config.jpg --output config.jpg", "config.jpg", "config.jpg"),
        (f"{TEST} --output report --boxes {PREDICTIONS}", PREDICTIONS, PREDICTIONS),
        (f"{TEST} --output data", "data", "data"),
        (f"{TEST} --output data/../data/images --images data/images", "data/../data/images", "data/images"),
    ],
)
def test_an_output_that_is_an_input_is_refused(command: str, output: str, read: str) -> None:
    before = _content()
    result = CliRunner().invoke(main, command.split())
    assert result.stderr == f"error: {output} is the input {read} itself; name another output\n"
    assert result.exit_code == 2
    assert _content() == before


def test_a_picture_of_the_dataset_is_not_replaced_by_the_worst_people() -> None:
    people = Path("data/person_keypoints_made.json")
    people.write_text(people.read_text().replace("001.png", "worst.jpg"))
    Path("data/images/001.png").rename("data/images/worst.jpg")
    result = CliRunner().invoke(main, [*TEST.split(), "--output", "data/images"])
    picture = "data/images/worst.jpg"
    assert result.stderr == f"error: {picture} is the input {picture} itself; name another output\n"


def _content() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}
