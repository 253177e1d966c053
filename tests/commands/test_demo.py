"""`hrkit demo`: what goes wrong is said in one line, and loses nothing of the rest."""

from __future__ import annotations

import errno
import json
import os
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner, Result

from hrkit import registry
from hrkit.cli import main
from hrkit.images import read_image, write_image
from hrkit.pipeline import Pipeline
from made_videos import make_video, serve_files
from painted import TWO_PEOPLE, nobody, one_person, two_people
from synthetic_pipelines import SYNTHETIC

pytestmark = pytest.mark.usefixtures("small_crops")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def demo(*arguments: Any, network: tuple[str, ...] = SYNTHETIC) -> Result:
    return CliRunner().invoke(main, ["demo", *network, *map(str, arguments)])


def names(folder: str | Path) -> list[str]:
    return sorted(os.listdir(folder)) if Path(folder).exists() else []


def test_a_picture() -> None:
    write_image("two.png", two_people())
    result = demo("--image", "two.png")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "two.png: 2 people"
    assert lines[1].startswith("  person 1: score 1.00, box 26,36 to 95,165 (score 1.00), 17 of 17 joints seen")
    assert result.stderr == ""
    drawn = read_image("demo-output/two_poses.png")
    assert drawn.shape == two_people().shape
    assert (drawn != two_people()).any()
    assert names("demo-output") == ["two_poses.png"]


def test_json() -> None:
    write_image("two.png", two_people())
    result = demo("--image", "two.png", "--output", "out", "--json")
    assert result.exit_code == 0
    assert names("out") == ["two_poses.json", "two_poses.png"]
    content = json.loads(Path("out/two_poses.json").read_text())
    assert {key: content[key] for key in ("image", "width", "height")} == {
        "image": "two.png",
        "width": 320,
        "height": 240,
    }
    assert len(content["people"]) == 2
    person = content["people"][0]
    assert person["id"] is None
    assert person["box"] == [26, 36, 95, 165]
    x, y, score = person["keypoints"]["nose"]
    assert (x, y) == pytest.approx(TWO_PEOPLE[0, 0], abs=1.5)
    assert score == pytest.approx(1, abs=0.1)


def test_the_best_people() -> None:
    write_image("two.png", two_people())
    assert demo("--image", "two.png", "--max-people", "1").stdout.splitlines()[0] == "two.png: 1 person"


def test_nobody() -> None:
    write_image("empty.png", nobody())
    result = demo("--image", "empty.png", "--json")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0] == "empty.png: 0 people"
    assert json.loads(Path("demo-output/empty_poses.json").read_text())["people"] == []
    np.testing.assert_array_equal(read_image("demo-output/empty_poses.png"), nobody())


def test_one_bad_picture_in_a_folder() -> None:
    for name in ("a.png", "c.png"):
        write_image(f"photos/{name}", one_person())
    Path("photos/b.jpg").write_text("no picture")
    result = demo("--image", "photos")
    assert result.exit_code == 1
    assert names("demo-output") == ["a_poses.png", "c_poses.png"]
    assert result.stderr.splitlines() == [
        f"error: {Path('photos/b.jpg')}: is no picture, or of a kind that cannot be read",
        "1 of 3 pictures failed",
    ]


@pytest.mark.parametrize("kind", ["truncated", "text", "float", "missing", "folder"])
def test_a_bad_picture_among_others(kind: str) -> None:
    write_image("good.png", one_person())
    write_image("bad.jpg", two_people())
    if kind == "truncated":
        os.truncate("bad.jpg", os.path.getsize("bad.jpg") // 2)
    elif kind == "text":
        Path("bad.jpg").write_text("no picture")
    elif kind == "float":
        PIL.Image.new("F", (9, 9)).save("bad.jpg", "TIFF")
    else:
        os.remove("bad.jpg")
    images = ["--image", "bad.jpg", "--image", "good.png"]
    if kind == "folder":
        Path("bad.jpg").mkdir()
        images = ["--image", "*.png", "--image", "*.jp[g]", "--image", "good.png"]
    result = demo(*images)
    if kind == "folder":  # a glob that fits no picture is a mistake of the whole call
        assert result.exit_code == 2
        assert "no pictures there" in result.stderr
        assert names("demo-output") == []
    else:
        assert result.exit_code == 1
        assert result.stderr.startswith("error: bad.jpg: ")
        assert names("demo-output") == ["good_poses.png"]


def test_all_of_one_is_bad() -> None:
    Path("bad.jpg").write_text("no picture")
    result = demo("--image", "bad.jpg")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: bad.jpg: is no picture")
    assert names("demo-output") == []


@pytest.mark.parametrize("pattern", ["missing.jpg", "missing/", "*.jpg", "empty"])
def test_nothing_there(pattern: str) -> None:
    Path("empty").mkdir()
    result = demo("--image", pattern)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output


def test_equal_stems_do_not_clash() -> None:
    write_image("one/photo.png", one_person())
    write_image("two/photo.png", two_people())
    write_image("two/photo.bmp", nobody())
    result = demo("--image", "one", "--image", "two", "--json")
    assert result.exit_code == 0
    assert names("demo-output") == sorted(
        ["photo_poses.json", "photo_poses.png", "photo_poses2.bmp", "photo_poses2.json"]
        + ["photo_poses3.json", "photo_poses3.png"]
    )
    people = [len(json.loads(Path(f"demo-output/photo_poses{n}.json").read_text())["people"]) for n in ("", 2, 3)]
    assert people == [1, 0, 2]


def test_names_that_differ_in_case_do_not_clash() -> None:
    write_image("one/Photo.png", one_person())
    write_image("two/photo.png", two_people())
    assert demo("--image", "one", "--image", "two", "--json").exit_code == 0
    expected = ["Photo_poses.json", "Photo_poses.png", "photo_poses2.json", "photo_poses2.png"]
    assert names("demo-output") == expected


def test_an_empty_name() -> None:
    write_image("one.png", one_person())
    result = demo("--image", "")
    assert result.exit_code == 2
    assert result.stderr == "error: the name of a picture is empty\n"


def test_no_input_is_written_over() -> None:
    write_image("photo.png", one_person())
    write_image("photo_poses.png", two_people())
    result = demo("--image", ".", "--output", ".")
    assert result.exit_code == 0
    np.testing.assert_array_equal(read_image("photo_poses.png"), two_people())
    np.testing.assert_array_equal(read_image("photo.png"), one_person())
    assert names(".") == ["photo.png", "photo_poses.png", "photo_poses2.png", "photo_poses_poses.png"]


def test_endings_that_cannot_be_written_become_png() -> None:
    PIL.Image.fromarray(one_person()).save("photo.ppm")
    assert demo("--image", "photo.ppm").exit_code == 0
    assert names("demo-output") == ["photo_poses.png"]


@pytest.mark.parametrize("name", ["Frühstück 写真.png", "a.b.c.png", "[1].png"])
def test_names_of_all_sorts(name: str) -> None:
    write_image(name, one_person())
    result = demo("--image", name, "--json")
    assert result.exit_code == 0
    stem = Path(name).stem
    assert names("demo-output") == sorted([f"{stem}_poses.json", f"{stem}_poses.png"])
    assert json.loads(Path(f"demo-output/{stem}_poses.json").read_text())["image"] == name


@pytest.mark.skipif(os.name == "nt", reason="names are no bytes there")
def test_a_name_that_is_no_text() -> None:
    name = os.fsdecode(b"\xff.png")
    try:
        write_image(name, one_person())
    except OSError:
        pytest.skip("the file system wants text")
    result = demo("--image", name, "--json")
    assert result.exit_code == 0
    assert len(names("demo-output")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backbone", "hrnet_v48"], "unknown backbone 'hrnet_v48'; did you mean hrnet_w48"),
        (["--detector", "yolo3"], "unknown detector 'yolo3'; did you mean yolov3"),
        (["--decoder", "drak"], "did you mean dark"),
        (["--device", "tpu"], "no device is called 'tpu'"),
        (["--weights", "missing.pth"], "no weights file missing.pth"),
        (["--weights", "auto"], "synthetic has no published pose weights"),
    ],
)
def test_mistakes_in_the_options(options: list[str], message: str) -> None:
    write_image("one.png", one_person())
    result = demo("--image", "one.png", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert names("demo-output") == []


@pytest.mark.parametrize("option", [("--smooth",), ("--detect-every", "5"), ("--profile",)])
def test_options_of_videos_are_refused_for_pictures(option: tuple[str, ...]) -> None:
    write_image("one.png", one_person())
    result = demo("--image", "one.png", *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr
    assert "are for videos" in result.stderr


@pytest.mark.parametrize("options", [[], ["--image", "a.png", "--threshold", "2"], ["--image", "a.png", "--more"]])
def test_mistakes_that_click_finds(options: list[str]) -> None:
    result = demo(*options)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.endswith("demo --help`)\n")
    assert len(result.stderr.splitlines()) == 1


def test_none_leaves_networks_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    from_names = Pipeline.from_names

    def spy(*names: str, **options: Any) -> Pipeline:
        given.update(options)
        return from_names(*names, **options)

    monkeypatch.setattr(Pipeline, "from_names", spy)
    write_image("one.png", one_person())
    assert demo("--image", "one.png", "--detector-weights", "none").exit_code == 0
    assert (given["weights"], given["detector_weights"]) == (None, None)
    assert demo("--image", "one.png").exit_code == 0
    assert (given["weights"], given["detector_weights"]) == (None, "auto")


def test_without_a_detector() -> None:
    write_image("one.png", one_person())
    result = demo("--image", "one.png", "--detector", "none")
    assert result.exit_code == 0
    assert "box 0,0 to 320,240" in result.stdout


def full(self: Path, content: bytes) -> None:
    self.open("wb").write(content[:9])
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    write_image("one.png", one_person())
    write_image("demo-output/one_poses.png", nobody())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        result = demo("--image", "one.png", "--json")
    assert result.exit_code == 2
    assert result.stderr == f"error: [Errno 28] No space left on device: {str(Path('demo-output/one_poses.png'))!r}\n"
    assert names("demo-output") == ["one_poses.png"]
    np.testing.assert_array_equal(read_image("demo-output/one_poses.png"), nobody())


def test_a_full_disk_at_the_json(monkeypatch: pytest.MonkeyPatch) -> None:
    write_image("one.png", one_person())

    def write_half(self: Path, text: str, *_: Any, **__: Any) -> int:
        self.write_bytes(text[:9].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_half)
    result = demo("--image", "one.png", "--json")
    assert result.exit_code == 2
    assert "one_poses.json" in result.stderr
    assert names("demo-output") == ["one_poses.png"]


def test_a_folder_that_cannot_be_written() -> None:
    write_image("one.png", one_person())
    Path("file").write_text("in the way")
    result = demo("--image", "one.png", "--output", "file")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""  # said before any network runs
    assert Path("file").read_text() == "in the way"


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "b.png"):
        write_image(f"photos/{name}", one_person())
    predict = Pipeline.predict

    def interrupt(self: Pipeline, frame: Any, **options: Any) -> Any:
        if names("demo-output"):
            raise KeyboardInterrupt
        return predict(self, frame, **options)

    monkeypatch.setattr(Pipeline, "predict", interrupt)
    result = demo("--image", "photos")
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"
    assert names("demo-output") == ["a_poses.png"]


def test_the_traceback_is_there_for_who_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRKIT_DEBUG", "1")
    result = demo("--image", "one.png", "--backbone", "hrnet_v48")
    assert type(result.exception).__name__ == "UnknownNameError"


def test_a_plugin_that_raises_on_import(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "broken_plugin_of_demo.py").write_text("raise RuntimeError('out of order')")
    monkeypatch.syspath_prepend(str(folder))
    entry_points = EntryPoints([EntryPoint("broken", "broken_plugin_of_demo", "hrkit")])
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda **_: entry_points)
    manager = registry.PluginManager()
    monkeypatch.setattr(registry, "plugins", manager)
    for kind in registry.KINDS:
        monkeypatch.setattr(getattr(registry, kind), "_manager", manager)
    write_image("one.png", one_person())
    result = demo("--image", "one.png")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: plugin 'broken' is left out: out of order")
    assert names("demo-output") == ["one_poses.png"]


def test_help_has_an_example() -> None:
    result = demo("--help", network=())
    assert "hrkit demo 0\n" in result.stdout
    assert "hrkit demo photos/ -o drawn" in result.stdout
    assert "none" in result.stdout


@pytest.mark.slow
def test_sources_are_what_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """Pictures, a folder of both, a video and a list, each once named and none called."""
    write_image("one.png", one_person())
    write_image("both/two.png", two_people())
    write_image("both/below/three.png", two_people())
    make_video(Path("both/street.mp4"), images=[two_people()] * 2)
    Path("list.csv").write_text("name,file\nfirst,one.png\nfirst,one.png\n")
    result = demo("list.csv", "both", "-o", "out")
    assert result.exit_code == 0, result.output
    assert names("out") == ["one_poses.png", "street_poses.mp4", "two_poses.png"]
    assert "both: 1 folder in it is not searched" in caplog.messages
    assert demo("both", "-o", "all", "--recursive").exit_code == 0
    assert names("all") == ["street_poses.mp4", "three_poses.png", "two_poses.png"]


def test_one_picture_goes_to_the_file_that_is_named() -> None:
    write_image("two.png", two_people())
    assert demo("two.png", "-o", "new/drawn.jpg", "--json").exit_code == 0
    assert names("new") == ["drawn.jpg", "drawn.json"]
    assert demo("--image", "two.png", "--output", "again.jpg").exit_code == 0
    assert names(".") == ["again.jpg", "new", "two.png"]
    for options, message in (
        (("two.png", "again.jpg", "-o", "both.jpg"), "2 sources are drawn to a folder, not to one file both.jpg"),
        (("two.png", "-o", "two.png"), "two.png is the input two.png itself"),
        (("two.png", "-o", "clip.mp4"), "cannot write such a picture"),
        (("two.png", "--image", "two.png"), "one of SOURCES, --camera"),
        (("nothing.mp4",), "nothing.mp4: no such file"),
        (("new/*.mp4",), "no pictures or videos there"),
    ):
        result = demo(*options)
        assert result.exit_code == 2
        assert message in result.stderr
    np.testing.assert_array_equal(read_image("two.png"), two_people())


def test_a_picture_at_an_address(folder: Path) -> None:
    write_image("there/two.png", two_people())
    with serve_files(folder / "there") as address:
        result = demo(f"{address}/two.png?token=secret", "-o", "out", "--json")
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(f"{address}/two.png: 2 people")
        assert json.loads(Path("out/two_poses.json").read_text())["image"] == f"{address}/two.png"
        named = demo("--image", f"{address}/two.png", "-o", "named")
        assert named.stdout.startswith(f"{address}/two.png: 2 people")
        missing = demo(f"{address}/one.png?token=secret")
    assert missing.exit_code == 2
    assert missing.stderr.startswith(f"error: {address}/one.png: cannot be read (HTTP Error 404")
    assert "secret" not in result.output + missing.output


def test_one_bad_video_among_others() -> None:
    make_video(Path("good.mp4"), images=[two_people()] * 2)
    Path("bad.mp4").write_text("no video")
    result = demo("bad.mp4", "good.mp4", "-o", "out")
    assert result.exit_code == 1
    assert names("out") == ["good_poses.mp4"]
    assert result.stderr.splitlines()[-1] == "1 of 2 sources failed"


def test_the_options_of_networks_reach_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    write_image("one.png", one_person())
    asked: dict[str, Any] = {}
    original = Pipeline.from_names
    names = ("person_threshold", "detection_threshold", "detector_size", "classes")

    def note(**given: Any) -> Pipeline:
        asked.update({name: given[name] for name in names})
        return original(**{**given, **dict.fromkeys(names[1:])})

    monkeypatch.setattr(Pipeline, "from_names", note)
    sizes = ("--detector-size", "64", "--classes", "person,dog")
    assert demo("one.png", "--min-score", "1", "--threshold", ".2", *sizes).exit_code == 0
    assert asked == dict(zip(names, (1.0, 0.2, 64, ["person", "dog"]), strict=True))
