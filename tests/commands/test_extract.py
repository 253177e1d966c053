"""`hrkit extract`: videos become files, several at once, and nothing is written over by mistake."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from extracting import extract, film
from hrkit.cli import Stopped
from hrkit.extraction.formats import FORMATS
from hrkit.extraction.part_file import PartFile
from hrkit.files import reserved
from hrkit.images import write_image
from hrkit.tracking.follower import Follower
from made_videos import make_video
from walking import walk

pytestmark = pytest.mark.usefixtures("small_crops")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with two short videos as pictures."""
    monkeypatch.chdir(tmp_path)
    images, _ = walk(4)
    for name, frames in (("street", images), ("yard", images[:2])):
        for number, image in enumerate(frames, 8):
            write_image(f"{name}/frame{number}.png", image)
    return tmp_path


@pytest.mark.slow
def test_a_table_of_everybody() -> None:
    result = film("street", "-o", "out/street.csv", "--smooth", "--detect-every", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == "street: 4 frames, 8 poses: out/street.csv\n"
    table = pd.read_csv("out/street.csv")
    assert ",".join(table.columns[:11]) == "frame,time,id,score,x1,y1,x2,y2,nose_x,nose_y,nose_score"
    assert table.groupby("id").frame.apply(list).to_dict() == {1: [0, 1, 2, 3], 2: [0, 1, 2, 3]}
    meta = json.loads(Path("out/street.csv.meta.json").read_text())
    assert (meta["frames"], meta["backbone"], meta["detect_every"]) == (4, "synthetic", 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(kind: str) -> None:
    for run in (extract, film):
        assert run("street", "-o", f"{run.__name__}.{kind}").exit_code == 0
        assert Path(f"{run.__name__}.{kind}").exists()
    assert not list(Path().glob("*.part.jsonl"))


@pytest.mark.slow
def test_several_sources() -> None:
    make_video(Path("walk.mp4"), images=walk(4)[0])
    result = extract("walk.mp4", "yard", "./walk.mp4", "-o", "out", "--format", "jsonl", "--no-track")
    assert result.exit_code == 0, result.output
    names = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*.*.jsonl"))
    assert names == ["walk.mp4.jsonl", "yard/frame8.png.jsonl", "yard/frame9.png.jsonl"]
    lines = [json.loads(line) for line in Path("out/walk.mp4.jsonl").read_text().splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert lines[0]["people"][0]["id"] is None


def test_one_bad_source_among_several() -> None:
    Path("bad.mp4").write_text("no video")
    result = extract("bad.mp4", "yard", "-o", "out")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "1 of 3 inputs failed, see out/failures.csv"
    assert Path("out/failures.csv").read_text().splitlines()[1].startswith("bad.mp4,")
    assert Path("out/yard/frame8.png.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("run", [extract, film])
@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_there_is_not_written_over(run: Any, kind: str) -> None:
    output = f"yard.{kind}"

    def content() -> list[bytes]:
        return [path.read_bytes() for path in sorted(Path().glob(f"{output}*/*")) if path.is_file()] + [
            path.read_bytes() for path in sorted(Path().glob(f"{output}*")) if path.is_file()
        ]

    assert run("yard", "-o", output).exit_code == 0
    before = content()
    refused = run("street", "-o", output)
    assert (refused.exit_code, "--overwrite" in refused.stderr) == (2, True)
    again = run("yard", "-o", output, "--resume")
    assert (again.exit_code, again.stdout) == (0, f"done before: {output}\n")
    other = run("street", "-o", output, "--resume")
    assert other.exit_code == 2
    assert 'made from another input or with other settings: source was "yard", is "street"' in other.stderr
    both = run("yard", "-o", output, "--resume", "--overwrite")
    assert (both.exit_code, "pass one of them" in both.stderr) == (2, True)
    assert content() == before
    assert run("street", "-o", output, "--overwrite").exit_code == 0
    assert content() != before


@pytest.mark.slow
def test_another_video_of_the_same_name_is_not_done_before() -> None:
    for folder, shift in (("one", 0), ("two", 1)):
        Path(folder).mkdir()
        make_video(Path(folder, "x.mp4"), images=[np.roll(image, 9 * shift, 1) for image in walk(4)[0]])
    os.utime("two/x.mp4", ns=(os.stat("one/x.mp4").st_mtime_ns,) * 2)
    assert extract("one/x.mp4", "-o", "x.csv", "--max-frames", 3).exit_code == 0
    for arguments, says in (
        (("one/x.mp4", "--max-frames", 3), ""),
        (("one/x.mp4",), "max_frames was 3, is null"),
        (("two/x.mp4", "--max-frames", 3), "input.s"),  # its size or the digest of its beginning
        (("one/x.mp4", "--max-frames", 3, "--max-people", 1), "max_people was null, is 1"),
    ):
        again = extract(*arguments, "-o", "x.csv", "--resume")
        assert (again.exit_code, says in again.stderr) == (2 if says else 0, True)


@pytest.mark.slow
def test_an_unfinished_run_is_gone_on_with() -> None:
    assert film("street", "-o", "whole.csv").exit_code == 0
    # as a kill leaves it before the first frame
    meta = json.loads(Path("whole.csv.meta.json").read_text())
    del meta["hrkit"], meta["frames"]
    PartFile.begin("street.csv.part.jsonl", meta).close()
    refused = film("street", "-o", "street.csv")
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    other = film("street", "-o", "street.csv", "--resume", "--detect-every", 3)
    assert other.exit_code == 2
    assert "detect_every was 1, is 3" in other.stderr
    assert film("street", "-o", "street.csv", "--resume").exit_code == 0
    assert Path("street.csv").read_bytes() == Path("whole.csv").read_bytes()
    Path("whole.csv").unlink()
    Path("whole.csv.part.jsonl").write_text("of somebody else")
    assert film("street", "-o", "whole.csv", "--resume").exit_code == 2
    assert film("street", "-o", "whole.csv", "--overwrite").exit_code == 0
    assert Path("street.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_two_runs_do_not_write_one_output() -> None:
    with reserved("street.csv"):
        for run in (extract, film):
            for more in ((), ("--overwrite",)):
                second = run("street", "-o", "street.csv", *more)
                assert second.exit_code == 2
                assert (
                    second.stderr
                    == "error: street.csv: another run is writing there; let it end, or name another output\n"
                )
    assert sorted(os.listdir()) == ["street", "yard"]


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("walk.mp4", "walk.mp4"),
        ("walk.mp4", "link.mp4"),
        ("link.mp4", "walk.mp4"),
        ("street", "street/frame9.png"),
        ("street", "street"),
        ("street/*.png", "linked/frame9.png"),
        ("walk.mp4", "linked/../walk.mp4"),
    ],
)
@pytest.mark.parametrize("more", [("--format", "csv"), ("--format", "openpose"), ("--format", "csv", "--as-video")])
def test_no_output_is_an_input(source: str, output: str, more: tuple[str, ...]) -> None:
    make_video(Path("walk.mp4"), images=walk(2)[0])
    Path("link.mp4").symlink_to("walk.mp4")
    Path("linked").symlink_to("street")
    before = {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()}
    result = extract(source, "-o", output, "--overwrite", *more)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*.*") if path.is_file()} == before


@pytest.mark.parametrize("option", ["--detector-weights", "--skeleton", "--inputs"])
def test_no_output_is_a_file_of_an_option(option: str) -> None:
    Path("mine.csv").write_text("street")
    result = extract("street", "-o", "mine.csv", "--overwrite", option, "mine.csv")
    assert result.exit_code == 2
    assert result.stderr == "error: mine.csv is the input mine.csv itself; name another output\n"
    assert Path("mine.csv").read_text() == "street"


@pytest.mark.slow
def test_an_output_that_is_a_link() -> None:
    Path("kept").mkdir()
    Path("table.csv").symlink_to("kept/real.csv")
    for more in ((), ("--overwrite",)):
        assert film("yard", "-o", "table.csv", *more).exit_code == 0
        assert Path("table.csv").is_symlink()
        assert pd.read_csv("kept/real.csv").frame.nunique() == 2
    assert os.listdir("kept") == ["real.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["b" * 251 + ".csv", "é" * 125 + ".json", "a" * 249 + ".jsonl"])
def test_names_as_long_as_a_file_system_takes(name: str) -> None:
    kind = name.rpartition(".")[2]
    for arguments in (("yard", "-o", name), ("yard", "-o", name, "--overwrite", "--as-video")):
        assert extract(*arguments, "--format", kind).exit_code == 0
    again = film("yard", "-o", name, "--format", kind, "--resume")
    assert (again.exit_code, again.stdout) == (0, f"done before: {name}\n")
    assert len([path for path in os.listdir() if path[0] in "aéb"]) == 2  # itself and its meta


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_is_done(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrkit.tracking.follower.FRAMES_AT_ONCE", 1)
    assert film("street", "-o", "whole.csv").exit_code == 0
    real, steps = Follower.step, []

    def step(self: Follower, frames: Any) -> Any:
        steps.append(frames)
        if len(steps) == 3:
            raise Stopped(number)
        return real(self, frames)

    monkeypatch.setattr(Follower, "step", step)
    stopped = film("street", "-o", "street.csv")
    assert (stopped.exit_code, stopped.stderr.splitlines()[-1]) == (128 + number, "interrupted")
    assert sorted(path for path in os.listdir() if path.startswith((".", "street."))) == ["street.csv.part.jsonl"]
    assert film("street", "-o", "street.csv", "--resume").exit_code == 0
    assert Path("street.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.needs_shared
def test_a_frame_that_cannot_be_read_ends_nothing(shared: Path) -> None:
    write_image("street/frame99.png", np.zeros((9, 9, 3), np.uint8))
    Path("street/frame9.png").write_bytes(b"no picture")
    result = film("street", "-o", "street.csv")
    assert (result.exit_code, result.stdout) == (1, "street: 4 frames, 6 poses: street.csv\n")
    assert result.stderr.splitlines()[-1] == "frames that could not be read and are left out: 1"
    damaged = shared / "cases" / "media" / "one_zeroed_packet_keyframes_0_30_60.mp4"
    for arguments, last in (
        ((damaged, "-o", "damaged.csv"), "frames that could not be read and are left out: 1"),
        ((damaged, "--engine", "local", "-o", "out"), "1 of 1 inputs failed, see out/failures.csv"),
        ((damaged.with_name("corrupt_noaudio.mp4"), "-o", "noise.csv"), "frames that are damaged: 1"),
    ):
        result = extract(*arguments)
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, last)
    assert json.loads(Path("damaged.csv.meta.json").read_text())["frames"] == 89
    assert Path(f"out/{damaged.name}.csv").exists()


def test_passwords_of_streams_stay_out_of_everything(tmp_path: Path) -> None:
    address = "rtsp://user:secret@127.0.0.1:9/live?token=secret"
    for arguments in ((address, "-o", "x.csv"), (address, "yard", "-o", "out"), (address, "-o", "x.crops")):
        result = extract(*arguments)
        assert result.exit_code == 2
        assert "rtsp://127.0.0.1:9/live" in result.stderr
        assert "secret" not in result.output
    assert not [path for path in tmp_path.rglob("*") if "secret" in path.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("street", "-o", "poses.xlsx"), "keypoint files end in"),
        (("street", "walk.mp4", "-o", "poses.csv"), "is a folder"),
        (("street", "-o", "poses.csv", "--smooth"), "are for videos"),
        (("street", "-o", "poses.csv", "--max-frames", 2), "are for videos"),
        (("street", "rtsp://127.0.0.1/camera", "-o", "out"), "camera: addresses are extracted one at a time, without"),
        (("missing.mp4", "-o", "poses.csv"), "missing.mp4: no such file"),
        (("7", "-o", "poses.csv"), "camera 7 cannot be opened"),
        (("street", "-o", "street/frame8.png/poses.csv"), "frame8.png"),
        (("street", "-o", "poses.csv", "--as-video", "--no-track", "--smooth"), "tracking"),
        (("street", "-o", "poses.csv", "--decoder", "drak"), "did you mean dark"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = extract(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not Path("poses.csv").exists()
    assert not list(Path().glob("*.part.jsonl"))


@pytest.mark.slow
def test_where_the_time_goes() -> None:
    for run in (extract, film):
        result = run("yard", "-o", f"{run.__name__}.csv", "--profile")
        assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:]] == [
            *("detector", "crops", "pose network", "decoding", "tracking", "rows")
        ]


@pytest.mark.slow
def test_every_picture_to_a_file_of_its_own() -> None:
    result = extract("--engine", "local", "street", "yard", "-o", "out")
    assert result.exit_code == 0, result.output
    assert result.stdout == "6 done, 12 people: out\n"
    names = [str(path.relative_to("out")) for path in Path("out").rglob("*.png.csv")]
    assert sorted(names) == [
        *(f"street/frame{n}.png.csv" for n in (10, 11, 8, 9)),
        *(f"yard/frame{n}.png.csv" for n in (8, 9)),
    ]
    assert pd.read_csv("out/yard/frame9.png.csv").shape[0] == 2
    meta = json.loads(Path("out/meta.json").read_text())
    assert (meta["backbone"], meta["skeleton"]) == ("synthetic", "coco17")
    again = extract("--engine", "local", "street", "yard", "-o", "out")
    assert (again.exit_code, again.stdout) == (0, "0 done, 6 before, 0 people: out\n")


def test_inputs_of_a_list() -> None:
    Path("list.txt").write_text("street/frame8.png\nmissing.mp4\nyard\n")
    result = extract("--inputs", "list.txt", "-o", "out", "--format", "jsonl")
    assert result.exit_code == 1
    assert result.stdout == "3 done, 6 people: out\n"
    assert result.stderr.splitlines()[-1] == "1 of 4 inputs failed, see out/failures.csv"
    assert Path("out/failures.csv").read_text().splitlines()[1].endswith("missing.mp4: no such file")
    assert Path("out/yard/frame9.png.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "local", "-o", "out"), "Missing argument 'SOURCES...'"),
        (("--engine", "lokal", "street", "-o", "out"), "unknown engine 'lokal'; did you mean local"),
        (("--engine", "local", "street", "-o", "out", "--workers", 2), "does not take the option 'workers'"),
        (("--engine", "local", "street", "-o", "out", "--no-track", "--smooth"), "tracking"),
        (("street", "-o", "out.csv", "--workers", 2), "--workers is for an engine"),
        (("-o", "out.csv"), "Missing argument 'SOURCES...'"),
        (("--engine", "local", "street", "-o", "out", "--profile"), "--profile is for a single file"),
        (("--inputs", "nothing.txt", "-o", "out"), "nothing.txt: cannot be read"),
    ],
)
def test_mistakes_with_many_inputs_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = extract(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(Path().rglob("*.csv"))
