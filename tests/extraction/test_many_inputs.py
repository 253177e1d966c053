"""Many inputs to a folder: each gives its file once, whatever happens; what fails is listed."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from hrkit import Detections, Pipeline, hookimpl, registry
from hrkit.errors import HrkitError
from hrkit.extraction import Job, Progress, extract_all
from hrkit.extraction.formats import FORMATS
from hrkit.extraction.inputs import Inputs, find_inputs
from hrkit.extraction.manifest import Manifest, Result, held, manifest_path
from hrkit.extraction.worker import Extractor
from hrkit.images import write_image
from hrkit.synthetic import SyntheticDetector, paint_people
from hrkit.tracking.follower import Follower
from made_videos import make_video
from painted import person
from walking import walk

pytestmark = pytest.mark.usefixtures("one_thread", "small_crops")

MODEL = {"backbone": "synthetic", "detector": "synthetic", "weights": None, "device": "cpu"}
PICTURES = 11
FRAMES = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `PICTURES` pictures of somebody, many of them of one name, and a video of somebody who walks."""
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(PICTURES):
        name = f"{number % 3}/x{number // 6}.{'jpg' if number % 2 else 'png'}" if number < PICTURES - 1 else "x0.png"
        frame = paint_people((160 + 10 * (number % 4), 200), [person(20 + 3 * number, 20)], radius=4)
        write_image(folder / name, frame)
    make_video(folder / "walk.mp4", images=walk(FRAMES, people=1)[0], options={"g": "4"})
    return folder


@pytest.fixture
def inputs(made: Path, tmp_path: Path) -> Path:
    """A copy of it, which may be damaged."""
    return Path(shutil.copytree(made, tmp_path / "inputs"))


@pytest.fixture(scope="module")
def undisturbed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing happened to."""
    output = tmp_path_factory.mktemp("undisturbed")
    assert run(made, output) == Progress(before=0, done=PICTURES + 1, people=PICTURES + FRAMES)
    return output


@pytest.fixture(scope="module")
def whole(undisturbed: Path) -> dict[str, bytes]:
    """Its files."""
    return files(undisturbed)


@pytest.fixture
def output(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of it, to be gone on with."""
    return Path(shutil.copytree(undisturbed, tmp_path / "output"))


def run(inputs: Path, output: Path, *, job: dict[str, Any] | None = None, **options: Any) -> Progress:
    found = find_inputs([inputs])
    made = Job(found.root, str(output), "csv", MODEL, {})
    return extract_all(found, evolve(made, **job or {}), **options)


def files(output: Path) -> dict[str, bytes]:
    """The keypoint files in a folder."""
    paths = [path for path in output.rglob("*.csv") if path.is_file() and ".hrkit" not in path.parts]
    return {str(path.relative_to(output)): path.read_bytes() for path in paths}


def failures(output: Path) -> dict[str, str]:
    with (output / "failures.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["input", "reason"]
    return dict(rows)


class Killed(BaseException):
    """Stands for an end that nobody can catch."""


@pytest.mark.slow
def test_each_input_gives_the_file_that_it_gives_alone(made: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    names = {str(path.relative_to(made)) for path in made.rglob("*.*")}
    assert set(whole) == {f"{name}.csv" for name in names}
    pipeline = Pipeline.from_names(**MODEL)
    for name in names - {"walk.mp4"}:
        (tmp_path / "table.csv").write_bytes(whole[f"{name}.csv"])
        table = pd.read_csv(tmp_path / "table.csv")
        poses = pipeline(made / name)
        assert table.columns[:3].tolist() == ["frame", "time", "id"]
        assert table.id.isna().all()
        joints = table.to_numpy()[:, 8:].reshape(len(poses), 17, 3)
        np.testing.assert_allclose(joints[..., :2], poses.keypoints, atol=0.0006)


@pytest.mark.slow
def test_what_is_done_is_left_alone(made: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Extractor, "__init__", lambda *_: pytest.fail("nothing is to be loaded"))
    assert run(made, output) == Progress(before=PICTURES + 1)
    assert not (output / "failures.csv").exists()


def test_what_is_gone_is_made_again(made: Path, whole: dict[str, bytes], output: Path) -> None:
    (output / "1" / "x0.jpg.csv").unlink()
    assert run(made, output).done == 1
    assert files(output) == whole


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 10])
def test_a_run_that_was_killed_is_gone_on_with(made: Path, whole: dict[str, bytes], tmp_path: Path, after: int) -> None:
    def die(progress: Progress) -> None:
        if progress.done == after:
            raise Killed

    with pytest.raises(Killed):
        run(made, tmp_path, progress=die)
    with manifest_path(tmp_path).open("a") if after else (tmp_path / "x").open("w") as file:
        file.write('{"input":"walk.m')  # as a kill leaves a line
    result = run(made, tmp_path)
    assert (result.before, result.done) == (after, PICTURES + 1 - after)
    assert files(tmp_path) == whole
    assert not list(tmp_path.rglob("*.part.jsonl"))


@pytest.mark.slow
def test_a_video_that_was_interrupted_is_gone_on_with(
    made: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hrkit.extraction.one_video.STATE_FRAMES", 8)
    real, seen = Follower.step, []

    def step(self: Follower, frames: Any) -> Any:
        seen.extend(frame.index for frame in frames)
        if seen == list(range(FRAMES)):
            raise Killed
        return real(self, frames)

    monkeypatch.setattr(Follower, "step", step)
    found = find_inputs([made / "walk.mp4"])
    for _ in range(2):
        try:
            extract_all(found, Job(found.root, str(tmp_path), "csv", MODEL, {}))
        except Killed:
            assert not files(tmp_path)
    assert seen == [*range(FRAMES), *range(8, FRAMES)]
    assert files(tmp_path)["walk.mp4.csv"] == whole["walk.mp4.csv"]
    assert not list(tmp_path.rglob("*.part.jsonl"))


@pytest.mark.slow
def test_a_video_that_was_replaced_meanwhile_is_begun_anew(inputs: Path, tmp_path: Path) -> None:
    found, output = find_inputs([inputs / "walk.mp4"]), tmp_path / "out"
    unfinished = output / ".hrkit" / "unfinished" / "walk.mp4"

    def killed(self: Follower, frames: Any) -> Any:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Follower, "step", killed)
        with pytest.raises(Killed):
            extract_all(found, Job(found.root, str(output), "csv", MODEL, {}))
    (part,) = unfinished.glob("*.part.jsonl")
    part.write_text(part.read_text() + '{"frame":0,"time":0.0,"people":[]}\n{"next":8,"state":null}\n')
    os.utime(part, (1, 1))
    assert extract_all(found, Job(found.root, str(output), "csv", MODEL, {})).people == FRAMES


@pytest.mark.slow
def test_what_fails_is_listed_and_tried_again(inputs: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    output = tmp_path / "out"
    good = (inputs / "0" / "x1.png").read_bytes(), (inputs / "walk.mp4").read_bytes()
    (inputs / "0" / "x1.png").write_bytes(good[0][:100])
    (inputs / "walk.mp4").write_bytes(good[1][: len(good[1]) * 2 // 3])
    result = run(inputs, output)
    assert (result.done, result.failed) == (PICTURES - 1, 2)
    listed = failures(output)
    assert set(listed) == {"0/x1.png", "walk.mp4"}
    assert "x1.png" in listed["0/x1.png"]
    assert "cut short" in listed["walk.mp4"] or "cannot be read from frame" in listed["walk.mp4"]
    made = files(output)
    assert "0/x1.png.csv" not in made
    begin = made["walk.mp4.csv"]
    assert whole["walk.mp4.csv"].startswith(begin)
    assert begin.count(b"\n") > 1, "the frames before the damage are kept"
    again = run(inputs, output)
    assert (again.before, again.failed) == (PICTURES - 1, 2)
    assert failures(output) == listed
    (inputs / "0" / "x1.png").write_bytes(good[0])
    (inputs / "walk.mp4").write_bytes(good[1])
    assert run(inputs, output) == Progress(before=PICTURES - 1, done=2, people=1 + FRAMES)
    assert {name: data for name, data in files(output).items() if name != "failures.csv"} == whole
    assert not (output / "failures.csv").exists()


@pytest.fixture
def damaged(inputs: Path) -> dict[str, bytes]:
    """What three pictures of `inputs` were before they were damaged, by name."""
    names = ("0/x0.png", "0/x1.png", "1/x0.jpg")
    good = {name: (inputs / name).read_bytes() for name in names}
    for name, content in good.items():
        (inputs / name).write_bytes(content[:100])
    return good


@pytest.mark.slow
def test_a_run_over_some_inputs_keeps_the_failures_of_the_rest(
    inputs: Path, damaged: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"

    def some(*names: str) -> Progress:
        return extract_all(Inputs(str(inputs), names), Job(str(inputs), str(output), "csv", MODEL, {}))

    assert run(inputs, output).failed == 3
    listed = failures(output)
    assert set(listed) == set(damaged)
    shutil.copy(inputs / "x0.png", inputs / "new.png")
    assert some("new.png").done == 1
    assert failures(output) == listed
    (inputs / "bad.png").write_bytes(b"")
    assert some("bad.png").failed == 1
    assert set(failures(output)) == {*damaged, "bad.png"}
    (inputs / "0/x0.png").write_bytes(damaged["0/x0.png"])
    (inputs / "0/x1.png").unlink()
    result = some("0/x0.png", "0/x1.png")
    assert (result.done, result.failed) == (1, 1)
    again = failures(output)
    assert set(again) == {"0/x1.png", "1/x0.jpg", "bad.png"}
    assert "no such file" in again["0/x1.png"]
    assert "no such file" not in listed["0/x1.png"]
    assert again["1/x0.jpg"] == listed["1/x0.jpg"]
    assert (output / "failures.csv").read_text().count("\n") == 4, "each once, under one header"


@pytest.mark.slow
def test_a_retry_that_stops_early_keeps_the_failures_that_it_did_not_come_to(
    inputs: Path, damaged: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"

    def die(progress: Progress) -> None:
        if progress.done:
            raise Killed

    assert run(inputs, output).failed == 3
    (inputs / "0/x0.png").write_bytes(damaged["0/x0.png"])
    with pytest.raises(Killed):
        run(inputs, output, progress=die)
    assert set(failures(output)) == {"0/x1.png", "1/x0.jpg"}


def test_lines_that_are_nested_too_deeply(tmp_path: Path) -> None:
    folder, deep = tmp_path / "out", "[" * 100_000 + "\n"
    with held(folder), Manifest(folder, {}) as manifest:
        manifest.add(Result("a", frames=1))
    path = manifest_path(folder)
    path.write_text(path.read_text() + deep)
    with held(folder), Manifest(folder, {}) as manifest:
        assert set(manifest.done) == {"a"}
    path.write_text(deep)
    with pytest.raises(HrkitError, match="is no manifest"), held(folder), Manifest(folder, {}):
        pass


def test_the_list_of_failures_is_made_from_the_manifest(tmp_path: Path) -> None:
    tmp_path = tmp_path / "out"
    strange = os.fsdecode(b"\xff,.jpg")
    with held(tmp_path), Manifest(tmp_path, {}) as manifest:
        for name in ("a", strange, "b"):
            manifest.add(Result(name, "broken"))
        manifest.add(Result("b", frames=1))
        (tmp_path / "failures.csv").write_text("inp")  # what is left of it if the process is killed now
        manifest._file.flush()
        with Manifest(tmp_path, {}) as following:
            assert following.failed == {"a": "broken", strange: "broken"}
            assert (tmp_path / "failures.csv").read_bytes() == b'input,reason\na,broken\n"\xff,.jpg",broken\n'
    with held(tmp_path), Manifest(tmp_path, {}, overwrite=True):
        assert not (tmp_path / "failures.csv").exists()


@pytest.mark.parametrize(
    ("kind", "own"), [("csv", "failures"), ("csv", "Failures"), ("json", "meta"), ("jsonl", ".hrkit/manifest")]
)
def test_an_input_does_not_take_the_place_of_a_file_of_the_run(made: Path, tmp_path: Path, kind: str, own: str) -> None:
    inputs, output = tmp_path / "inputs", tmp_path / "out"
    (inputs / own).parent.mkdir(parents=True)
    shutil.copy(made / "walk.mp4", inputs / own)
    shutil.copy(made / "x0.png", inputs / "x0.png")
    found = evolve(find_inputs([inputs]), names=[own, "x0.png"])
    job = Job(found.root, str(output), kind, MODEL, {})
    for before in (0, 1):
        assert extract_all(found, job) == Progress(before=before, done=1 - before, failed=1, people=1 - before)
        reason = f"its file, {own}.{kind}, would take the place of one of hrkit's own; rename the input"
        assert failures(output) == {own: reason}
        assert "hrkit" in json.loads((output / "meta.json").read_text())
        assert manifest_path(output).read_text().startswith('{"hrkit":')


@pytest.fixture
def moody() -> Iterator[None]:
    """A detector that one height of pictures is too much for, with whatever comes along."""

    class Moody(SyntheticDetector):
        def detect(self, images: Any) -> list[Detections]:
            if any(image.shape[0] == 170 for image in images):
                raise RuntimeError("too high\nfor me")
            return super().detect(images)

    registry.plugins.register(SimpleNamespace(register_detectors=hookimpl(lambda: {"moody": Moody})), "moody")
    yield
    registry.plugins.unregister("moody")


@pytest.mark.slow
@pytest.mark.usefixtures("moody")
def test_an_input_that_the_networks_cannot_bear_fails_alone(made: Path, tmp_path: Path) -> None:
    result = run(made, tmp_path, job={"model": {**MODEL, "detector": "moody"}})
    assert set(failures(tmp_path).values()) == {"RuntimeError: too high for me"}
    assert (result.done, result.failed) == (PICTURES - 3 + 1, 3)


def test_other_settings_are_refused_or_begin_anew(made: Path, output: Path) -> None:
    other = {"following": {"max_people": 1}}
    with pytest.raises(
        HrkitError, match=r"begun with other settings: following.max_people was null, is 1; .*overwrite"
    ):
        run(made, output, job=other)
    assert run(made, output, job={"model": {**MODEL, "device": "auto"}}) == Progress(before=PICTURES + 1)
    assert run(made / "0", output, job={**other, "root": str(made / "0")}, overwrite=True).done == 4
    with pytest.raises(HrkitError, match=r"other settings: root was .*0\", is "):
        run(made, output, job=other)


def test_a_start_that_failed_binds_nobody(made: Path, tmp_path: Path) -> None:
    with pytest.raises(HrkitError, match="unknown backbone"):
        run(made, tmp_path, job={"model": {**MODEL, "backbone": "sinthetic"}})
    assert run(made / "0", tmp_path).done == 4


@pytest.mark.parametrize("name", ["x1.png.csv", "failures.csv", "meta.json"])
def test_what_no_run_wrote_is_not_written_over(made: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(HrkitError, match=f"{name} exists, and no run wrote it"):
        run(made / "0", tmp_path)
    assert (tmp_path / name).read_text() == "precious"
    assert run(made / "0", tmp_path, overwrite=True).done == 4


@pytest.mark.slow
def test_two_runs_do_not_write_to_one_folder(made: Path, tmp_path: Path) -> None:
    def another(_: Progress) -> None:
        with pytest.raises(HrkitError, match="another run is writing there"):
            run(made, tmp_path)

    assert run(made, tmp_path, progress=another).done == PICTURES + 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_whole_and_can_be_made_again(made: Path, tmp_path: Path, kind: str) -> None:
    found = find_inputs([made / "walk.mp4", made / "x0.png"])
    job = Job(found.root, str(tmp_path), kind, MODEL, {}, max_frames=2)
    for _ in range(2):
        assert extract_all(found, job) == Progress(before=0, done=2, people=3)
        assert {"x0.png", "walk.mp4"} <= {path.name.removesuffix(f".{kind}") for path in tmp_path.iterdir()}
        assert not (tmp_path / f"x0.png.{kind}.meta.json").exists()
        manifest = manifest_path(tmp_path)
        manifest.write_bytes(manifest.read_bytes().splitlines(keepends=True)[0])  # all is made, and nobody knows


@pytest.mark.slow
def test_an_engine_of_a_plugin(made: Path, tmp_path: Path) -> None:
    given = {}

    def lazy(inputs: Any, job: Job, *, workers: int) -> Iterator[Result]:
        given.update(inputs=inputs, workers=workers)
        yield from job.load()(inputs[workers:])

    registry.plugins.register(SimpleNamespace(register_engines=hookimpl(lambda: {"lazy": lazy})), "lazy")
    try:
        with pytest.raises(HrkitError, match="engine 'lazy' left 3 inputs out; run again"):
            run(made, tmp_path, engine="lazy", workers=3)
        assert given == {"inputs": find_inputs([made]).names, "workers": 3}
        with pytest.raises(HrkitError, match="engine 'lazy' of plugin 'lazy' does not take the option 'address'"):
            run(made, tmp_path, engine="lazy", workers=3, address="auto")
        assert run(made, tmp_path) == Progress(before=PICTURES - 2, done=3, people=FRAMES + 2)
    finally:
        registry.plugins.unregister("lazy")
