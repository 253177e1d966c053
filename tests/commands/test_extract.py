"""`hrkit extract`: videos become files, several at once, and nothing is written over by mistake."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from hrkit.cli import main
from hrkit.extraction.formats import FORMATS
from hrkit.images import write_image
from made_videos import make_video
from walking import walk

SYNTHETIC = ("--backbone", "synthetic", "--detector", "synthetic", "--weights", "none", "--device", "cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with two short videos as pictures."""
    monkeypatch.chdir(tmp_path)
    images, _ = walk(4)
    for name, frames in (("street", images), ("yard", images[:2])):
        for number, image in enumerate(frames, 8):
            write_image(f"{name}/frame{number}.png", image)
    return tmp_path


def extract(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["extract", *map(str, arguments), *SYNTHETIC])


def test_a_table_of_everybody() -> None:
    result = extract("street", "-o", "out/street.csv", "--smooth", "--detect-every", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == "street: 4 frames, 8 people: out/street.csv\n"
    table = pd.read_csv("out/street.csv")
    assert ",".join(table.columns[:11]) == "frame,time,id,score,x1,y1,x2,y2,nose_x,nose_y,nose_score"
    assert table.groupby("id").frame.apply(list).to_dict() == {1: [0, 1, 2, 3], 2: [0, 1, 2, 3]}
    meta = json.loads(Path("out/street.csv.meta.json").read_text())
    assert (meta["frames"], meta["backbone"], meta["detect_every"]) == (4, "synthetic", 2)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format(kind: str) -> None:
    assert extract("street", "-o", f"poses.{kind}").exit_code == 0
    assert Path(f"poses.{kind}").exists()


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


def test_what_is_there_is_not_written_over() -> None:
    assert extract("yard", "-o", "yard.csv").exit_code == 0
    before = Path("yard.csv").read_bytes()
    result = extract("street", "-o", "yard.csv")
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr
    assert Path("yard.csv").read_bytes() == before
    result = extract("yard", "-o", "yard.csv", "--resume")
    assert result.exit_code == 0
    assert "done before" in result.stdout
    assert extract("street", "-o", "yard.csv", "--overwrite").exit_code == 0
    assert pd.read_csv("yard.csv").frame.nunique() == 4


def test_an_unfinished_run_is_gone_on_with() -> None:
    assert extract("street", "-o", "whole.csv").exit_code == 0
    assert extract("street", "-o", "street.csv").exit_code == 0
    # as a kill after three frames leaves it
    meta = json.loads(Path("street.csv.meta.json").read_text())
    header = {"hrkit": meta.pop("hrkit"), "meta": {key: value for key, value in meta.items() if key != "frames"}}
    os.remove("street.csv")
    Path("street.csv.part.jsonl").write_text(json.dumps(header) + "\n")
    refused = extract("street", "-o", "street.csv")
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    other = extract("street", "-o", "street.csv", "--resume", "--detect-every", 3)
    assert other.exit_code == 2
    assert "detect_every was 1, is 3" in other.stderr
    assert extract("street", "-o", "street.csv", "--resume").exit_code == 0
    assert Path("street.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("street", "-o", "poses.xlsx"), "keypoint files end in"),
        (("street", "yard", "-o", "poses.csv"), "is a folder"),
        (("street", "rtsp://127.0.0.1/camera", "-o", "out"), "rtsp://127.0.0.1/camera: streams are extracted one at a"),
        (("missing.mp4", "-o", "poses.csv"), "missing.mp4: no such file"),
        (("7", "-o", "poses.csv"), "camera 7 cannot be opened"),
        (("street", "-o", "street/frame8.png/poses.csv"), "frame8.png"),
        (("street", "-o", "poses.csv", "--no-track", "--smooth"), "tracking"),
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


def test_where_the_time_goes() -> None:
    result = extract("yard", "-o", "yard.csv", "--profile")
    assert [line.split("  ")[0] for line in result.stdout.splitlines()[1:]] == [
        *("detector", "crops", "pose network", "decoding", "tracking", "rows")
    ]


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
        (("--engine", "local", "-o", "out"), "there are no inputs"),
        (("--engine", "lokal", "street", "-o", "out"), "unknown engine 'lokal'; did you mean local"),
        (("--engine", "local", "street", "-o", "out", "--workers", 2), "does not take the option 'workers'"),
        (("--engine", "local", "street", "-o", "out", "--no-track", "--smooth"), "tracking"),
        (("street", "-o", "out.csv", "--workers", 2), "--workers is for an engine"),
        (("-o", "out.csv"), "Missing argument 'SOURCES...'"),
        (("--engine", "local", "street", "-o", "out", "--profile"), "--profile is for a single video"),
        (("--inputs", "nothing.txt", "-o", "out"), "nothing.txt: cannot be read"),
    ],
)
def test_mistakes_with_many_inputs_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = extract(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(Path().rglob("*.csv"))
