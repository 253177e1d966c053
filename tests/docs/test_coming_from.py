"""The tables of docs/coming-from.md name calls and commands that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np
import pytest

from documented import DOCS, code_words, commands
from hrkit import Pipeline, Poses, create_detector, create_pose_model
from hrkit.drawing.annotators import BoxAnnotator, HeatmapAnnotator, SkeletonAnnotator, background
from hrkit.skeletons import get_skeleton
from hrkit.tracking.follower import Follower
from hrkit.tracking.tracker import PoseTracker
from hrkit.training import train
from hrkit.video import open_sink
from hrkit.video.files import VideoFrame


def _new_calls() -> list[str]:
    """The code in the right columns of the tables."""
    text = (DOCS / "coming-from.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [word for *_, cell in rows if not cell.startswith("no: ") for word in code_words(cell)]


def test_what_hrkit_does_not_do_has_a_reason() -> None:
    text = (DOCS / "coming-from.md").read_text(encoding="utf-8")
    cells = [line.split(" | ")[-1].removesuffix(" |") for line in text.splitlines() if line.startswith("| ")]
    assert [cell for cell in cells if re.match(r"no\b", cell) and not re.match(r"no: .{20}", cell)] == []


@pytest.fixture(scope="module")
def used() -> dict[str, Any]:
    """The names that the tables use. Signatures are checked, but no network is built or downloaded."""
    return {
        **{part.__name__: part for part in (BoxAnnotator, SkeletonAnnotator, PoseTracker, background, get_skeleton)},
        "open_sink": create_autospec(open_sink),
        "train": create_autospec(train),
        **dict.fromkeys(("config", "function")),
        "Follower": create_autospec(Follower),
        "HeatmapAnnotator": create_autospec(HeatmapAnnotator),
        "Pipeline": create_autospec(Pipeline),
        "create_detector": create_autospec(create_detector),
        "create_pose_model": create_autospec(create_pose_model),
        "pipeline": create_autospec(Pipeline, instance=True),
        "poses": Poses.empty(get_skeleton("coco17")).replace(image=np.zeros((9, 9, 3), np.uint8)),
        "boxes": [[0, 0, 9, 9]],
        "VideoFrame": VideoFrame,
        "follower": create_autospec(Follower, instance=True, **{"step.return_value": [None]}),
        "number": 0,
        **dict.fromkeys(("time", "seconds"), 0.0),
        **dict.fromkeys(("image", "image_a", "image_b", "frame"), np.zeros((9, 9, 3), np.uint8)),
    }


@pytest.fixture
def names(used: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`used`, for one call that writes in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return dict(used)


@pytest.mark.parametrize("call", _new_calls())
def test_new_calls_are_right(call: str, names: dict[str, Any]) -> None:
    if call.startswith("hrkit "):
        (command,) = commands(call)
        assert command.mistake() is None
    else:
        exec(call, names)


def test_a_wrong_call_would_be_found(names: dict[str, Any]) -> None:
    for wrong in ('Pipeline.from_names("hrnet_w32", detector_threshold=0.3)', "pipeline.predict(image, box=boxes)"):
        with pytest.raises(TypeError):
            exec(wrong, names)
    assert [command.mistake() is None for command in commands("hrkit demo --kamera 0")] == [False]


def test_the_old_class_takes_the_old_arguments() -> None:
    import inspect

    from hrkit.compat import SimpleHRNet

    page = (DOCS / "coming-from.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)=", page.split("## simple-HRNet")[1].split("## MMPose")[0])) - {"c"}
    assert {"multiperson", "nof_joints", "yolo_model_def"} <= named <= set(inspect.signature(SimpleHRNet).parameters)
