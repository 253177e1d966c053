"""Part files: what was written is there whatever happens, and a run goes on from its last state to the same rows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkit import __version__
from hrkit.errors import HrkitError
from hrkit.extraction.part_file import FrameRows, PartFile, part_path, read_part
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses, Skeleton

ARM = Skeleton("arm", ("elbow", "wrist"), (), (), [0.1, 0.1])
META = {
    "source": "street.mp4",
    "size": (480, 640),
    "fps": 25.0,
    "model": {"backbone": "lite", "flip_test": False},
    "keypoint_names": ARM.keypoint_names,
}
STATE = {"tracker": {"next_id": 3, "tracks": [[0.1, None, "é"]]}, "smoother": None}


def people(count: int, index: int = 0, **fields: Any) -> Poses:
    """`count` people with an arm, other ones in every frame."""
    random = np.random.default_rng([count, index])
    corners = np.sort(random.uniform(-50, 700, (count, 2, 2)), axis=1)
    found = Detections(corners.reshape(count, 4), random.random(count), np.zeros(count))
    return Poses(random.uniform(-50, 700, (count, 2, 2)), random.random((count, 2)), found, ARM, **fields)


def write(path: Path, counts: Sequence[int], states: Sequence[int] = ()) -> bytes:
    """A part file with so many people in each frame, and a state after each frame of `states`; what is in it."""
    with PartFile.begin(path, META) as part:
        go_on(part, counts, states)
    return path.read_bytes()


def go_on(part: PartFile, counts: Sequence[int], states: Sequence[int]) -> None:
    for index in range(part.next_frame, len(counts)):
        part.write_frame(index, index / 25, people(counts[index], index, track_ids=range(counts[index])))
        if index in states:
            part.write_state(index + 1, {"after": index})


def indices(path: Path) -> list[int]:
    return [frame.index for frame in read_part(path)[1]]


def test_lines_are_compact_and_plain(tmp_path: Path) -> None:
    found = Detections([[0, 1.00049, 10.12345, 20]], [0.98765], [0])
    poses = Poses([[[1 / 3, -0.0001], [np.nan, 2]]], [[0.5, np.inf]], found, ARM, track_ids=[7])
    with PartFile.begin(tmp_path / "a.part.jsonl", META) as part:
        part.write_frame(0, 0.04, poses)
        part.write_frame(1, 0.08, poses.replace(track_ids=None))
        part.write_frame(2, 0.12, Poses.empty(ARM))
        part.write_state(3, STATE)
    lines = (tmp_path / "a.part.jsonl").read_text(encoding="utf-8").splitlines()
    plain = [re.sub(r',"sum":"[0-9a-f]{16}"}$', "}", line) for line in lines]
    assert json.loads(plain[0]) == {"line": 1, "hrkit": __version__, "meta": json.loads(json.dumps(META))}
    numbers = "null,0.0,1.0,10.123,20.0,0.9876,0.333,0.0,0.5,null,2.0,null"
    assert plain[1] == f'{{"line":2,"frame":0,"time":0.04,"people":[[7,{numbers}]]}}'
    assert plain[2] == f'{{"line":3,"frame":1,"time":0.08,"people":[[null,{numbers}]]}}'
    assert plain[3] == '{"line":4,"frame":2,"time":0.12,"people":[]}'
    assert json.loads(plain[4]) == {"line": 5, "next": 3, "state": STATE}
    assert len({json.loads(line)["sum"] for line in lines}) == len(lines) == 5


def test_photos_have_names_sizes_and_problems(tmp_path: Path) -> None:
    strange = os.fsdecode(b"\xff\n.jpg")
    with PartFile.begin(tmp_path / "a", META) as part:
        part.write_frame(0, 0.0, people(1), size=(640, 480), file="a/x.jpg")
        part.write_problem(1, strange, "is no picture")
        part.write_frame(2, 0.0, people(0), size=(6, 4), file="z.jpg")
    rows = [(row.index, row.file, row.size, row.problem, len(row)) for row in read_part(tmp_path / "a")[1]]
    assert rows == [
        (0, "a/x.jpg", (640, 480), "", 1),
        (1, strange, None, "is no picture", 0),
        (2, "z.jpg", (6, 4), "", 0),
    ]


@given(
    st.lists(st.integers(0, 4), max_size=4),
    st.booleans(),
    st.sampled_from([0.01, 1.0, 1e3, 1e6]),
)
def test_rows_are_read_as_they_were_written_but_for_rounding(counts: list[int], tracked: bool, scale: float) -> None:
    written = []
    for index, count in enumerate(counts):
        poses = people(count, index, track_ids=np.arange(count) - 1 if tracked else None)
        points, scores = poses.keypoints * scale, poses.keypoint_scores.copy()
        points[:1, 0, 0], scores[1:2, 1] = np.nan, np.nan
        written.append(poses.replace(keypoints=points, keypoint_scores=scores))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.part.jsonl")
        with PartFile.begin(path, META) as part:
            for index, poses in enumerate(written):
                part.write_frame(index, index / 30, poses)
        meta, frames = read_part(path)
        assert meta == json.loads(json.dumps(META))
        for index, (frame, poses) in enumerate(zip(frames, written, strict=True)):
            assert (frame.index, frame.time, len(frame)) == (index, index / 30, len(poses))
            np.testing.assert_allclose(frame.keypoints[..., :2], poses.keypoints, rtol=1e-7, atol=0.000501)
            np.testing.assert_allclose(frame.keypoints[..., 2], poses.keypoint_scores, atol=0.0000501)
            np.testing.assert_allclose(frame.boxes, poses.detections.xyxy, atol=0.000501)
            np.testing.assert_allclose(frame.box_scores, poses.detections.scores, atol=0.0000501)
            np.testing.assert_allclose(frame.scores, poses.scores, atol=0.0000501)
            if tracked:
                assert frame.ids is not None
                np.testing.assert_array_equal(frame.ids, poses.track_ids)
            elif len(frame):
                assert frame.ids is None


def test_nobody_has_the_shapes_of_nobody(tmp_path: Path) -> None:
    write(tmp_path / "a", [0])
    (frame,) = read_part(tmp_path / "a")[1]
    assert isinstance(frame, FrameRows)
    assert (frame.boxes.shape, frame.keypoints.shape, frame.scores.shape) == ((0, 4), (0, 2, 3), (0,))


def test_a_part_file_lies_beside_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert part_path("walk.csv") == tmp_path / "walk.csv.part.jsonl"
    assert part_path("folder/") == tmp_path / "folder.part.jsonl"


# beginning


def test_an_interrupted_run_is_not_overwritten(tmp_path: Path) -> None:
    before = write(tmp_path / "new" / "a", [1, 2])
    with pytest.raises(HrkitError, match="pass --resume to go on, or remove it"):
        PartFile.begin(tmp_path / "new" / "a", META)
    assert (tmp_path / "new" / "a").read_bytes() == before


def test_where_nothing_can_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HrkitError, match="cannot be written") as caught:
        PartFile.begin(tmp_path / "file" / "a", META)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [None, "nose", [1, 2]])
def test_joints_need_names(tmp_path: Path, names: Any) -> None:
    with pytest.raises(HrkitError, match="needs keypoint_names"):
        PartFile.begin(tmp_path / "a", {"keypoint_names": names})
    assert not list(tmp_path.iterdir())


def test_people_of_other_joints_are_refused(tmp_path: Path) -> None:
    with (
        PartFile.begin(tmp_path / "a", META) as part,
        pytest.raises(HrkitError, match="frame 4 has the joints of coco17"),
    ):
        part.write_frame(4, 0.0, Poses.empty(coco17))
    assert indices(tmp_path / "a") == []


# resuming


def test_a_run_goes_on_from_its_last_state(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with PartFile.begin(path, META) as part:
        assert (part.next_frame, part.state) == (0, None)
        part.write_frame(0, 0.0, people(2))
        part.write_state(1, STATE)
        part.write_frame(1, 0.1, people(1))
    with PartFile.resume(path, META) as part:
        assert (part.next_frame, part.state) == (1, STATE)
        assert indices(path) == [0]
        part.write_frame(1, 0.1, people(1))
        part.write_frame(2, 0.2, people(1))
    assert indices(path) == [0, 1, 2]


def test_a_run_without_a_state_begins_anew(tmp_path: Path) -> None:
    write(tmp_path / "a", [1, 1])
    with PartFile.resume(tmp_path / "a", META) as part:
        assert (part.next_frame, part.state) == (0, None)
    assert indices(tmp_path / "a") == []


COUNTS, STATES = (0, 2, 1, 0, 0, 3, 1, 0), (1, 2, 5)


@given(st.data())
def test_cut_anywhere_a_run_goes_on_to_the_same_file(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        whole = write(path, COUNTS, STATES)
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        lines = [json.loads(line) for line in whole[:cut].split(b"\n")[:-1]]
        last: dict[str, Any] = next((line for line in reversed(lines) if "next" in line), {"next": 0, "state": None})
        with PartFile.resume(path, META) as part:
            assert (part.next_frame, part.state) == (last["next"], last["state"])
            assert indices(path) == list(range(last["next"]))
            go_on(part, COUNTS, STATES)
        assert path.read_bytes() == whole


@given(st.data())
def test_cut_anywhere_all_whole_frames_can_be_read(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        whole = write(path, COUNTS, STATES)
        cut = data.draw(st.integers(whole.index(b"\n") + 1, len(whole)))
        path.write_bytes(whole[:cut])
        lines = [json.loads(line) for line in whole[:cut].split(b"\n")[:-1]]
        assert indices(path) == [line["frame"] for line in lines if "frame" in line]


@given(st.data(), st.binary(min_size=1, max_size=40))
def test_damage_of_any_kind_is_an_error_in_one_line_or_none(data: st.DataObject, damage: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        whole = write(path, COUNTS, STATES)
        at = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:at] + damage + whole[at + len(damage) :])
        said: list[str] = []
        for use in (indices, lambda path: PartFile.resume(path, META).close()):
            try:
                use(path)
            except HrkitError as error:
                said.append(str(error))
        assert "\n" not in "".join(said)


@pytest.mark.parametrize(
    "damage",
    [
        b'{"frame":1,"time":0.04,"peo\n',
        b"\0" * 30 + b"\n",
        b"[1]\n",
        b"\n",
        b'{"frame":1,"time":0.04,"people":[[0,1,2]]}\n',
        b'{"frame":1e999,"time":0.04,"people":[]}\n',
        b'{"next":1}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    whole = write(tmp_path / "a", [1, 1, 1, 1, 1], [0, 2, 4])
    lines = whole.splitlines(keepends=True)
    (tmp_path / "a").write_bytes(b"".join([*lines[:4], damage, *lines[5:]]))
    with pytest.raises(HrkitError, match="a: damaged in line 5;"):
        indices(tmp_path / "a")
    with PartFile.resume(tmp_path / "a", META) as part:
        assert (part.next_frame, part.state) == (1, {"after": 0})
        go_on(part, [1, 1, 1, 1, 1], [0, 2, 4])
    assert "a: damaged in line 5; going on from frame 1" in caplog.text
    assert (tmp_path / "a").read_bytes() == whole


@given(st.data())
def test_lines_that_are_gone_or_moved_are_found(data: st.DataObject) -> None:
    """Also if each line is whole: nothing after the last state before them is used."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        whole = write(path, COUNTS, STATES)
        lines = whole.splitlines(keepends=True)
        kind = data.draw(st.sampled_from(["gone", "swapped", "twice", "of another run"]))
        first = data.draw(st.integers(2 if kind == "of another run" else 1, len(lines) - 2))
        second = data.draw(st.integers(first + 1, len(lines) - 1))
        other = write(Path(folder, "b"), [3, *COUNTS[1:]], STATES).splitlines(keepends=True)
        changed = {
            "gone": [*lines[:first], *lines[first + 1 :]],
            "swapped": [*lines[:first], lines[second], *lines[first + 1 : second], lines[first], *lines[second + 1 :]],
            "twice": [*lines[:first], lines[first], *lines[first:]],
            "of another run": [*lines[:first], *other[first:]],
        }[kind]
        path.write_bytes(b"".join(changed))
        with pytest.raises(HrkitError, match=f"damaged in line {first + 1 + (kind == 'twice')};"):
            indices(path)
        good = [json.loads(line) for line in lines[: first + (kind == "twice")]]
        last = next((line["next"] for line in reversed(good) if "next" in line), 0)
        with PartFile.resume(path, META) as part:
            assert part.next_frame == last
            go_on(part, COUNTS, STATES)
        assert path.read_bytes() == whole


def test_damage_after_the_last_state_is_dropped_with_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write(tmp_path / "a", [1, 1, 1], [1])
    (tmp_path / "a").write_bytes(whole + b"\0" * 5000 + b"\n" + whole.splitlines(keepends=True)[1])
    with PartFile.resume(tmp_path / "a", META) as part:
        assert part.next_frame == 2
    assert "damaged in line 6; going on from frame 2" in caplog.text
    assert indices(tmp_path / "a") == [0, 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fps": 30}, "fps was 25.0, is 30"),
        ({"model": {"backbone": "lite_plus", "flip_test": False}}, 'model.backbone was "lite", is "lite_plus"'),
        ({"model": {"backbone": "lite", "flip_test": False, "dark": True}}, "model.dark was null, is true"),
        ({"model": "lite", "fps": 30}, "fps was 25.0, is 30"),
        ({"keypoint_names": ["wrist", "elbow"]}, 'keypoint_names was ["elbow", "wrist"], is ["wrist", "elbow"]'),
        ({"source": "s" * 100}, f'source was "street.mp4", is "{"s" * 56}...;'),
    ],
)
def test_a_run_with_other_settings_is_told_which(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    before = write(tmp_path / "a", [1], [0])
    with pytest.raises(HrkitError, match=re.escape(f"other settings: {says}")):
        PartFile.resume(tmp_path / "a", {**META, **changes})
    assert (tmp_path / "a").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"hello", b"hello\n", b'{"hrkit": 1}\n', b'{"hrkit":"1"}\n', b'{"hrkit":1,,}\n', b"\0"]
)
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(HrkitError, match="no part file"):
        PartFile.resume(tmp_path / "a", META)
    with pytest.raises(HrkitError, match="no part file"):
        read_part(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HrkitError, match=r"cannot be resumed .*No such file"):
        PartFile.resume(tmp_path / "a", META)
    with pytest.raises(HrkitError, match=r"cannot be read .*No such file"):
        read_part(tmp_path / "a")
    assert not list(tmp_path.iterdir())


# accidents


@pytest.mark.slow
def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from hrkit.extraction.part_file import PartFile
from hrkit.skeletons import coco17
from hrkit.structures import Poses
part = PartFile.begin(sys.argv[1], {"keypoint_names": coco17.keypoint_names})
for index in range(5):
    part.write_frame(index, index / 25, Poses.empty(coco17))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], check=False)
    assert done.returncode == -9
    assert indices(tmp_path / "a") == [0, 1, 2, 3, 4]


def test_a_full_disk_is_said_and_what_is_there_stays(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = write(tmp_path / "a", [1], [0])
    with PartFile.resume(tmp_path / "a", META) as part:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))  # a file takes part of a line
        try:
            with pytest.raises(HrkitError, match=r"a: cannot be written \(.*File too large\); .* --resume") as caught:
                part.write_frame(1, 0.04, people(9, track_ids=range(9)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(caught.value)
        assert (tmp_path / "a").read_bytes() == before
        part.write_frame(1, 0.04, people(1, track_ids=[0]))
    assert indices(tmp_path / "a") == [0, 1]


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(HrkitError, match="cannot be written"):
            PartFile.begin(tmp_path / "a", META)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with PartFile.resume(tmp_path / "a", META) as part:
        go_on(part, [1, 1], [])
    assert indices(tmp_path / "a") == [0, 1]


def test_states_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    whole = write(tmp_path / "a", [1, 2], [1])
    assert synced == [whole.index(b"\n") + 1, len(whole)]


@pytest.mark.slow
def test_memory_is_flat_however_long_the_video(tmp_path: Path) -> None:
    size = len(write(tmp_path / "a", [8] * 3000, range(0, 3000, 100)))
    assert size > 1_500_000
    tracemalloc.start()
    try:
        assert sum(len(frame) for frame in read_part(tmp_path / "a")[1]) == 24_000
        PartFile.resume(tmp_path / "a", META).close()
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
