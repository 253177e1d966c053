"""What is recorded of inputs and networks, and that other ones are noticed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from hrkit import Pipeline
from hrkit.errors import HrkitError
from hrkit.extraction import Job, extract_all, find_inputs
from hrkit.extraction.manifest import manifest_path
from hrkit.extraction.provenance import file_record, files_record, keypoint_meta, mark
from hrkit.images import write_image
from hrkit.video.files import SourceInfo
from made_videos import make_video
from walking import walk

MODEL = {"backbone": "synthetic", "detector": "synthetic", "weights": None, "device": "cpu"}


def test_a_file_is_known_by_size_time_and_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 2_000_000)
    before = file_record(path)
    assert before is not None
    assert before["size"] == 2_000_000
    assert before["sha256_of_first_mib"] == hashlib.sha256(b"x" * 2**20).hexdigest()
    time, known = before["modified"], mark(path)
    for content, when in ((b"y" * 2_000_000, time), (b"x" * 2_000_001, time), (b"x" * 2_000_000, time + 10**9)):
        path.write_bytes(content)
        os.utime(path, ns=(when, when))
        assert file_record(path) != before
        assert mark(path) != known
    path.write_bytes(b"x" * 2_000_000)
    os.utime(path, ns=(time, time))
    assert (file_record(path), mark(path)) == (before, known)
    assert file_record(tmp_path) is file_record("rtsp://host/live") is None


def test_files_are_known_by_names_sizes_and_times(tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / f"{name}.png", np.zeros((9, 9, 3), np.uint8))
    records = [files_record(find_inputs([tmp_path], photos=True))]
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    records.append(files_record(find_inputs([tmp_path], photos=True)))
    os.utime(tmp_path / "c.png", (1, 1))
    records.append(files_record(find_inputs([tmp_path], photos=True)))
    records.append(files_record(find_inputs([tmp_path, tmp_path / "gone.png"], photos=True)))
    assert [record["files"] for record in records] == [2, 2, 2, 3]
    assert len({record["sha256_of_names_sizes_and_times"] for record in records}) == 4


@pytest.mark.slow
def test_meta_says_what_really_ran() -> None:
    pipeline = Pipeline.from_names("lite", "lite_person", device="cpu", precision="float32")
    asked = {"backbone": "lite", "detector": None, "threshold": None, "decoder": "dark", "skeleton": None}
    meta = json.loads(json.dumps(keypoint_meta(SourceInfo("a.mp4"), pipeline, asked)))
    assert (meta["detector"], meta["skeleton"], meta["decoder"]) == ("lite_person", "coco17", "dark")
    pose, detector = meta["networks"]["pose"], meta["networks"]["detector"]
    for network, part in ((pose, pipeline.pose_model), (detector, pipeline.detector)):
        assert network["sha256"] == hashlib.sha256(Path(part.weights_file).read_bytes()).hexdigest()  # type: ignore[union-attr]
    assert (pose["name"], pose["codec"], pose["input_size"]) == ("lite", "dark", [192, 160])
    assert (detector["name"], detector["nms_threshold"]) == ("lite_person", 0.55)
    assert detector["threshold"] == pipeline.detector.threshold  # type: ignore[union-attr]
    assert meta["ran_on"] == {"device": "cpu", "precision": "float32"}
    assert {"hrkit", "python", "torch", "av"} <= set(meta["versions"])


def test_networks_that_are_not_from_files() -> None:
    pipeline = Pipeline.from_names(**MODEL)
    meta = keypoint_meta(SourceInfo("a.mp4"), pipeline, {})
    assert meta["networks"]["pose"]["sha256"] is meta["networks"]["detector"]["sha256"] is None
    alone = keypoint_meta(SourceInfo("a.mp4"), Pipeline(pipeline.pose_model), {})
    assert alone["detector"] is alone["networks"]["detector"] is None


@pytest.mark.slow
def test_another_file_of_the_same_name_is_made_anew(tmp_path: Path) -> None:
    inputs, output = tmp_path / "in", tmp_path / "out"
    images = walk(3)[0]
    inputs.mkdir()
    make_video(inputs / "x.mp4", images=images)
    write_image(inputs / "y.png", images[0])

    def run() -> tuple[int, int]:
        found = find_inputs([inputs])
        done = extract_all(found, Job(found.root, str(output), "csv", MODEL, {}))
        return done.before, done.done

    assert run() == (0, 2)
    time = (inputs / "x.mp4").stat().st_mtime_ns
    make_video(inputs / "x.mp4", images=[image[:, ::-1] for image in images])
    os.utime(inputs / "x.mp4", ns=(time, time))
    before = (output / "x.mp4.csv").read_bytes()
    assert run() == (1, 1)
    assert (output / "x.mp4.csv").read_bytes() != before
    write_image(inputs / "y.png", images[1])
    assert run() == (1, 1)
    (inputs / "y.png").unlink()
    assert run() == (1, 0)
    assert all("mark" in json.loads(line) for line in manifest_path(output).read_text().splitlines()[1:])


@pytest.mark.slow
def test_other_weights_of_the_same_name_are_refused(tmp_path: Path) -> None:
    inputs, output, weights = tmp_path / "in", tmp_path / "out", tmp_path / "mine.safetensors"
    for number in range(2):
        write_image(inputs / f"{number}.png", np.zeros((9, 9, 3), np.uint8))
    model = Pipeline.from_names("lite_plus").pose_model
    shutil.copy(model.weights_file, weights)  # type: ignore[arg-type]
    names = find_inputs([inputs])
    job = Job(names.root, str(output), "csv", {"backbone": "lite_plus", "weights": str(weights), "device": "cpu"}, {})
    assert extract_all(find_inputs([inputs / "0.png"]), job).done == 1
    content = weights.read_bytes()
    weights.write_bytes(content[:-4] + bytes(4))
    with pytest.raises(HrkitError, match=r"other networks: networks.pose.sha256 was .*; pass --overwrite"):
        extract_all(names, job)
    assert extract_all(names, job, overwrite=True).done == 2
