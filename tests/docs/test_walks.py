"""The walks of docs/how-it-works.md name files and functions in the order in which the code calls them."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import hrkit
from documented import DOCS, PHOTO
from hrkit import Pipeline, create_detector, create_pose_model, list_names
from hrkit.cli import main
from hrkit.images import read_image
from hrkit.training import TrainConfig, train
from made_coco import make_coco
from made_videos import make_video

PACKAGE = Path(hrkit.__file__).parent
STEP = re.compile(r"^\d+\. `(\S+\.py)`(?:, `(\S+)`)?:", re.MULTILINE)


def steps_of(title: str) -> list[tuple[str, str]]:
    """The files of a walk, each with its function; "" if none is named, and a class stands for its constructor."""
    page = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^### {title}\n(.*?)(?=^##)", page, re.MULTILINE | re.DOTALL)
    names = [(file, name.rpartition(".")[2]) for file, name in STEP.findall(section)]
    return [(file, "__init__" if name[:1].isupper() else name) for file, name in names]


@contextmanager
def calls_noted() -> Iterator[list[tuple[str, str]]]:
    """The functions of hrkit, by file and name, in the order of their first call in any thread."""
    calls: dict[tuple[str, str], None] = {}
    start = f"{PACKAGE}{os.sep}"

    def note(frame: FrameType, event: str, argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(start):
            calls.setdefault((path[len(start) :].replace(os.sep, "/"), frame.f_code.co_name))

    found: list[tuple[str, str]] = []
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        found += calls


def one_frame(folder: Path) -> Callable[[], object]:
    torch.manual_seed(0)  # what an untrained detector finds is enough to go on with
    detector = create_detector("yolov3_tiny", weights=None, input_size=64, threshold=0.1, nms_threshold=0.1)
    model = create_pose_model("lite", weights="auto", num_joints=None, input_size=None)
    pipeline = Pipeline(model, detector, device="cpu", precision="float32")
    return lambda: pipeline(PHOTO)


def one_video(folder: Path) -> Callable[[], object]:
    frame = read_image(PHOTO)[:480, :640]
    make_video(folder / "street.mp4", images=[np.roll(frame, 3 * number, axis=1) for number in range(2)])
    words = ["extract", str(folder / "street.mp4"), "-o", str(folder / "street.csv"), "--smooth", "--runtime", "eager"]
    words += ["--backbone", "synthetic", "--weights", "none", "--detector", "synthetic", "--device", "cpu"]
    return lambda: CliRunner().invoke(main, words, catch_exceptions=False)


def one_sample(folder: Path) -> Callable[[], object]:
    make_coco(folder / "data", pictures=2)
    config = TrainConfig(
        output=str(folder / "run"),
        datasets=(f"coco:{folder / 'data'}",),
        backbone="hrnet_w4",
        input_size=(64, 64),
        batch_size=4,
        max_steps=1,
        workers=0,
        device="cpu",
        ema=0.9,
        tensorboard=False,
        backbone_weights=None,
    )
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much when the first one is made
    return lambda: train(config)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("title", "prepare"),
    [("One frame", one_frame), ("One video to a file", one_video), ("One training sample", one_sample)],
)
@pytest.mark.slow
def test_a_walk_is_the_way_the_code_goes(
    title: str, prepare: Callable[[Path], Callable[[], object]], tmp_path: Path
) -> None:
    pytest.importorskip("hrkit_lite", reason="the walks use the networks of hrkit-lite")
    steps = steps_of(title)
    files = [file for file, _ in steps]
    assert len(set(files)) == len(files) > 8
    assert all((PACKAGE / file).is_file() for file in files)
    walk = prepare(tmp_path)
    list_names("datasets")  # loads the plugins
    with calls_noted() as calls:
        walk()
    named = [step for step in steps if step[1]]
    assert [call for call in calls if call in named] == named
