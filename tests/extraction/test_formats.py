"""What keypoint files of every format promise, and which format a name stands for."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrkit import __version__
from hrkit.errors import HrkitError
from hrkit.extraction.formats import FOLDERS, FORMATS, check_format, write_keypoints
from hrkit.skeletons import coco17
from keypoint_files import COUNTS, ODD, loaded_coco, meta_of, part_of, people, table_of, video

pandas = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")


def write_to(part: Path, target: Path, kind: str) -> None:
    """Writes in any format; the pictures of all frames are black."""
    write_keypoints(part, target, kind, lambda frame: np.zeros((480, 640, 3), np.uint8))


# all of them


@pytest.mark.parametrize("counts", [(), (0,), (0, 0, 0)])
def test_nobody_at_all(tmp_path: Path, counts: tuple[int, ...]) -> None:
    part = part_of(tmp_path, video(counts))
    for name in FORMATS:
        write_to(part, tmp_path / f"a.{name}", name)
    assert pandas.read_csv(tmp_path / "a.csv").shape == pandas.read_parquet(tmp_path / "a.parquet").shape == (0, 59)
    assert (tmp_path / "a.jsonl").read_text().count('"people":[]}\n') == len(counts)
    assert len(pandas.read_json(tmp_path / "a.jsonl", lines=True)) == len(counts)
    assert json.loads((tmp_path / "a.json").read_text()) == []
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert (read["keypoints"].shape, read["box"].shape, read["id"].dtype) == ((0, 17, 3), (0, 4), np.int64)
        assert read["frame_times"].shape == (len(counts),)
    assert len(list((tmp_path / "a.openpose").iterdir())) == len(list((tmp_path / "a.txt").iterdir())) == len(counts)
    assert not list((tmp_path / "a.crops").iterdir())
    assert meta_of(tmp_path / "a.json.meta.json")["frames"] == len(counts)


def test_joints_of_any_name(tmp_path: Path) -> None:
    frames = video(skeleton=ODD)
    part = part_of(tmp_path, frames, ODD)
    for name in FORMATS:
        write_to(part, tmp_path / f"a.{name}", name)
    columns = [f"{name}_{part}" for name in ODD.keypoint_names for part in ("x", "y", "score")]
    for read in (pandas.read_csv(tmp_path / "a.csv"), pandas.read_parquet(tmp_path / "a.parquet")):
        assert list(read.columns[8:]) == columns
        np.testing.assert_allclose(read.to_numpy(float), table_of(frames), atol=0.00051)
    read = pandas.read_json(tmp_path / "a.jsonl", lines=True)
    assert list(read.people[1][0]["keypoints"]) == list(ODD.keypoint_names)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert tuple(arrays["keypoint_names"]) == ODD.keypoint_names
    assert len(loaded_coco(tmp_path / "a.json", len(COUNTS)).anns) == 6


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_meta(tmp_path: Path, name: str) -> None:
    target = tmp_path / "out" / "street.file"
    write_to(part_of(tmp_path, video()), target, name)
    if name == "npz":
        meta = json.loads(np.load(target, allow_pickle=False)["meta"].item())
    elif name == "parquet":
        meta = json.loads(parquet.read_schema(target).metadata[b"hrkit"])
    else:
        meta = meta_of(tmp_path / "out" / "street.file.meta.json")
    assert meta == {
        "hrkit": __version__,
        "source": "films/street.mp4",
        "size": [480, 640],
        "fps": 25,
        "keypoint_names": list(coco17.keypoint_names),
        "frames": len(COUNTS),
    }
    beside = {"street.file"} if name in ("npz", "parquet") else {"street.file", "street.file.meta.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == beside


@pytest.mark.parametrize("name", FORMATS)
def test_a_source_may_have_any_name(tmp_path: Path, name: str) -> None:
    source = 'f\udce9te "*?\n.mp4'  # as Python has a name that is no UTF-8
    write_to(part_of(tmp_path, video([1]), source=source), tmp_path / "a", name)
    if name in FOLDERS:
        assert [path.name[:17] for path in (tmp_path / "a").iterdir()] == ["f_te__00000000000"]
    if name not in ("npz", "parquet"):
        assert meta_of(tmp_path / "a.meta.json")["source"] == source


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    part = part_of(tmp_path, video())
    lines = part.read_bytes().splitlines(keepends=True)
    out = tmp_path / "out"
    if name not in FOLDERS:
        out.mkdir()
        (out / "street").write_text("before")
    for damaged in (b"".join([*lines[:-3], b"{\n", *lines[-3:]]), b"no part file\n"):
        part.write_bytes(damaged)
        with pytest.raises(HrkitError):
            write_to(part, out / "street", name)
        assert [path.read_text() for path in out.rglob("*")] == ([] if name in FOLDERS else ["before"])
    part.write_bytes(b"".join(lines)[:-10])  # as a run that is not over leaves it
    write_to(part, out / "street", name)
    assert (out / "street").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource")
    part = part_of(tmp_path, video([9] * 9))
    out = tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_to(part, out / "street", name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(out.iterdir())


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 3), max_size=4),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_what_is_read_back_agrees_within_the_rounding(
    counts: list[int], tracked: bool, seed: int, scale: float
) -> None:
    random = np.random.default_rng(seed)
    frames = [
        poses.replace(
            keypoints=random.normal(0, scale, poses.keypoints.shape),
            keypoint_scores=random.random(poses.keypoint_scores.shape),
        )
        for poses in video(counts, tracked=tracked)
    ]
    wanted = table_of(frames) if frames else np.zeros((0, 59))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        part = part_of(folder, frames)
        for kind in ("csv", "parquet", "npz", "jsonl", "json"):
            write_keypoints(part, folder / f"a.{kind}")
        with np.load(folder / "a.npz", allow_pickle=False) as arrays:
            joints = arrays["keypoints"]
        lines = [json.loads(line) for line in (folder / "a.jsonl").read_text().splitlines()]
        results = json.loads((folder / "a.json").read_text())
        for table in (pandas.read_csv(folder / "a.csv"), pandas.read_parquet(folder / "a.parquet")):
            np.testing.assert_allclose(table.to_numpy(float), wanted, rtol=2e-7, atol=0.000501)
    people_of_lines = [list(person["keypoints"].values()) for line in lines for person in line["people"]]
    for given_joints in (joints, people_of_lines, [result["keypoints"] for result in results]):
        rows = np.array(given_joints, float).reshape(-1, 51)
        np.testing.assert_allclose(rows, wanted[:, 8:], rtol=2e-7, atol=0.000501)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["csv", "jsonl", "json", "openpose"])
def test_memory_is_flat_however_long_the_video(tmp_path: Path, name: str) -> None:
    part = part_of(tmp_path, [people(2)] * 600)
    assert part.stat().st_size > 500_000
    tracemalloc.start()
    try:
        write_keypoints(part, tmp_path / "out", name)
        assert tracemalloc.get_traced_memory()[1] < 250_000
    finally:
        tracemalloc.stop()


# which format


@pytest.mark.parametrize(
    ("target", "given_format", "wanted"),
    [
        ("a.csv", None, "csv"),
        ("A.CSV", None, "csv"),
        ("a.b.JsonL", None, "jsonl"),
        (Path("a/b.json"), None, "json"),
        ("a.parquet", None, "parquet"),
        ("a.npz", None, "npz"),
        ("a.csv", "npz", "npz"),
        ("folder", "openpose", "openpose"),
        ("folder.openpose/", None, "openpose"),
    ],
)
def test_the_format_is_the_one_named_or_of_the_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, given_format: str | None, wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_format(target, given_format) == wanted


@pytest.mark.parametrize("target", ["a.text", "a", "folder/", ".csv"])
def test_an_unknown_ending_is_told_the_others(target: str) -> None:
    endings = r"end in \.csv, \.jsonl, \.json, \.parquet, \.npz, folders of them in \.openpose, \.txt, \.crops"
    with pytest.raises(HrkitError, match=endings):
        check_format(target)


def test_an_unknown_format_is_told_the_others() -> None:
    with pytest.raises(HrkitError, match=r"unknown keypoint format 'cvs'; did you mean csv\?.*openpose, parquet"):
        check_format("a.csv", "cvs")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(HrkitError, match="is a folder; name a file"):
        check_format(tmp_path / "a.csv")
