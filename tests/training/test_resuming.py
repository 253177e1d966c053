"""A run that was stopped, killed or ran out of disk anywhere goes on to the weights it would have had."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve

from hrkit.errors import HrkitError, WeightsError
from hrkit.training.config import save_config
from hrkit.training.run import train
from hrkit.training.run_folder import RunLog, opened_run
from made_coco import write_json
from tiny_runs import last_state, last_weights, read_log, same_weights, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_folder_that_exists_is_kept(painted_coco: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("x")
    with pytest.raises(HrkitError, match="exists; pass --resume"):
        train(tiny_config(painted_coco, tmp_path / "run"))
    assert (tmp_path / "run" / "precious.txt").read_text() == "x"


@pytest.mark.slow
def test_resuming_with_another_recipe_is_refused(painted_coco: Path, tmp_path: Path) -> None:
    train(tiny_config(painted_coco, tmp_path / "run", max_steps=1))
    says = r"begun with another learning_rate \(0.001, not 0.5\), seed \(0, not 3\); .*epochs, .* the paths of the data"
    with pytest.raises(HrkitError, match=says):
        train(tiny_config(painted_coco, tmp_path / "run", learning_rate=0.5, seed=3, resume=True))


@pytest.mark.slow
def test_data_and_run_may_move_but_people_stay(painted_coco: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(painted_coco, tmp_path / "data"))
    settings: dict[str, Any] = {"validation": f"coco:{data}", "save_every": 1}
    train(tiny_config(data, tmp_path / "whole", **settings))
    train(tiny_config(data, tmp_path / "run", max_steps=2, **settings))
    data, run = data.rename(tmp_path / "moved"), (tmp_path / "run").rename(tmp_path / "elsewhere")
    settings["validation"] = f"coco:{data}"
    train(tiny_config(data, run, resume=True, **settings))
    assert same_weights(last_weights(run), last_weights(tmp_path / "whole"))
    path = next(data.glob("*.json"))
    content = json.loads(path.read_text())
    content["annotations"][3]["keypoints"][0] += 1
    write_json(path, content)
    with pytest.raises(HrkitError, match="datasets: these are not the people that the run began with"):
        train(tiny_config(data, run, resume=True, epochs=9, **settings))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b""), _cut, _flip_a_bit])
def test_the_newest_checkpoint_that_is_whole_counts(
    painted_coco: Path, tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    train(tiny_config(painted_coco, tmp_path / "whole"))
    train(tiny_config(painted_coco, tmp_path / "run", save_every=1, max_steps=4))
    damage(tmp_path / "run" / "last.pt")
    train(tiny_config(painted_coco, tmp_path / "run", save_every=1, resume=True))
    assert same_weights(last_weights(tmp_path / "run"), last_weights(tmp_path / "whole"))
    assert re.search(r"last\.pt.* (damaged|missing).*; going on from previous\.pt, step \d", caplog.text)
    steps = [line["step"] for line in read_log(tmp_path / "run")]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_finished_run_is_never_begun_anew(painted_coco: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny_config(painted_coco, run, validation=f"coco:{painted_coco}"))
    kept = (run / "best.safetensors").read_bytes()
    for damage, says in (
        (lambda path: path.write_bytes(b"PK"), r"best\.pt: damaged .*; there is no"),
        (Path.unlink, "missing"),
    ):
        for name in ("last.pt", "previous.pt", "best.pt"):
            damage(run / name)
        with pytest.raises(WeightsError, match=says) as error:
            train(tiny_config(painted_coco, run, validation=f"coco:{painted_coco}", resume=True))
        assert "\n" not in str(error.value)
        assert (run / "best.safetensors").read_bytes() == kept


@pytest.mark.slow
def test_two_runs_do_not_train_in_one_folder(painted_coco: Path, tmp_path: Path) -> None:
    config = tiny_config(painted_coco, tmp_path / "run")
    for second in (config, evolve(config, resume=True)):
        with opened_run(config), pytest.raises(HrkitError, match="another process trains there"):
            train(second)
    train(config)
    assert not (tmp_path / "run" / ".lock").exists()


RECIPES: list[dict[str, Any]] = [
    {"ema": 0.9, "optimizer": "adamw", "warmup_steps": 3, "clip_norm": 1.0},
    {"optimizer": "sgd", "schedule": "cosine", "accumulate": 2, "batch_size": 2},
]


@pytest.mark.slow
def test_stopped_anywhere_it_goes_on_to_the_same_weights(painted_coco: Path, tmp_path: Path) -> None:
    wholes = [
        tiny_config(painted_coco, tmp_path / f"whole{number}", validation=f"coco:{painted_coco}", **recipe)
        for number, recipe in enumerate(RECIPES)
    ]
    for whole in wholes:
        save_config(evolve(whole, save_every=1), Path(f"{whole.output}.json"))
    command = [sys.executable, "-c", INTERRUPTED, *(whole.output for whole in wholes)]
    process = subprocess.run(command, capture_output=True, text=True)  # no signal reaches the tests' own process
    assert process.returncode == 0, process.stderr
    for whole in wholes:
        train(whole)
        expected = last_weights(Path(whole.output))
        losses = [(line["step"], line["loss"]) for line in read_log(Path(whole.output)) if "loss" in line]
        for stop in (1, 3, 5):
            folder = Path(f"{whole.output}-{stop}")
            assert last_state(folder)["step"] == stop
            train(evolve(whole, output=str(folder), save_every=1, resume=True))
            assert same_weights(last_weights(folder), expected), (whole.optimizer, stop)
            assert losses == [(line["step"], line["loss"]) for line in read_log(folder) if "loss" in line]


@pytest.mark.slow
def test_a_network_that_draws_random_numbers_resumes_to_the_same_weights(painted_coco: Path, tmp_path: Path) -> None:
    drops: dict[str, Any] = {"backbone_options": {"drop_path_rate": 0.5}}
    train(tiny_config(painted_coco, tmp_path / "whole", **drops))
    train(tiny_config(painted_coco, tmp_path / "run", max_steps=4, **drops))
    train(tiny_config(painted_coco, tmp_path / "run", resume=True, **drops))
    assert same_weights(last_weights(tmp_path / "run"), last_weights(tmp_path / "whole"))


INTERRUPTED = """
import os, signal, sys
import torch
from attrs import evolve
from hrkit.training.config import TrainConfig, load_config
from hrkit.training.run import TrainingStopped, train

torch.set_num_threads(1)
real = torch.optim.Optimizer.zero_grad

def counted(self, set_to_none=True):
    global count
    count += 1
    if count == stop:
        os.kill(os.getpid(), signal.SIGTERM)
    real(self, set_to_none)

for kind in (torch.optim.AdamW, torch.optim.SGD):
    kind.zero_grad = counted
for whole in sys.argv[1:]:
    config = load_config(f"{whole}.json", TrainConfig)
    for stop in (1, 3, 5):
        count = 0
        try:
            train(evolve(config, output=f"{whole}-{stop}"))
        except TrainingStopped as stopped:
            assert "go on with --resume" in str(stopped)
        else:
            sys.exit("nothing stopped it")
"""


CUT_SHORT = """
import os, signal, sys
from pathlib import Path
import torch
import torch._dynamo  # every child would import it at its first step
from attrs import evolve
from hrkit.training.config import TrainConfig, load_config
from hrkit.training.run import train

torch.set_num_threads(1)
config = load_config(sys.argv[1], TrainConfig)
real, saves = torch.save, []

def cut_short(share):
    def save(content, path):
        saves.append(path)
        real(content, path)
        if len(saves) == 4:  # what was written so far is cut short, and the process is gone
            with open(path, "r+b") as file:
                file.truncate(int(os.path.getsize(path) * share))
            os.kill(os.getpid(), signal.SIGKILL)
    return save

for share in sys.argv[3:]:
    child = os.fork()
    if child == 0:
        torch.save = cut_short(float(share))
        train(evolve(config, output=str(Path(sys.argv[2], share))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="what is killed are forked processes")
def test_killed_in_the_middle_of_a_save(painted_coco: Path, tmp_path: Path) -> None:
    """The file before it is whole, and nothing else counts."""
    train(tiny_config(painted_coco, tmp_path / "whole"))
    save_config(tiny_config(painted_coco, tmp_path, save_every=1), tmp_path / "config.json")
    shares = ("0.2", "0.8")
    command = [sys.executable, "-c", CUT_SHORT, str(tmp_path / "config.json"), str(tmp_path), *shares]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    for share in shares:
        folder = tmp_path / share
        assert any(path.name.startswith(".last-") for path in folder.iterdir())
        train(tiny_config(painted_coco, folder, resume=True, save_every=1))
        assert same_weights(last_weights(folder), last_weights(tmp_path / "whole"))
        assert not any(path.name.startswith(".") for path in folder.iterdir())


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import torch._dynamo  # every child would import it at its first step
from attrs import evolve
from hrkit.training.config import TrainConfig, load_config
from hrkit.training.run import train

torch.set_num_threads(1)
config = load_config(sys.argv[1], TrainConfig)
folder = Path(sys.argv[2])

data = Path(sys.argv[3])

def attempt(output, seconds):
    global data
    data = data.rename(data.with_name(f"data{time.monotonic_ns()}"))  # it moves from one attempt to the next
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody handles it: then the process is gone, as by kill -9
        place = f"coco:{data}"
        train(evolve(config, output=str(output), datasets=(place,), validation=place, resume=True))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

started = time.perf_counter()
assert attempt(folder / "whole", 0) == 0
whole = time.perf_counter() - started
moments, kills, runs = random.Random(0), 0, 0
while kills < 6:
    code = attempt(folder / f"run{runs}", moments.uniform(0, whole))
    assert code in (0, -signal.SIGALRM), code
    kills, runs = kills + (code != 0), runs + (code == 0)
assert attempt(folder / f"run{runs}", 0) == 0
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the moments are drawn in forked processes")
def test_killed_at_six_random_moments(painted_coco: Path, tmp_path: Path) -> None:
    config = tiny_config(painted_coco, tmp_path, epochs=3, save_every=1, ema=0.9, validation=f"coco:{painted_coco}")
    save_config(config, tmp_path / "config.json")
    data = shutil.copytree(painted_coco, tmp_path / "data")
    command = [sys.executable, "-c", KILLER, str(tmp_path / "config.json"), str(tmp_path), str(data)]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    whole = last_state(tmp_path / "whole")
    assert whole["step"] == 9
    ended = sorted(tmp_path.glob("run*"))
    assert ended
    for folder in ended:
        state = last_state(folder)
        assert same_weights(state["model"], whole["model"])
        assert same_weights(state["average"], whole["average"])
        assert state["best"] == whole["best"]
        assert [(line["step"], line.get("loss"), line.get("AP")) for line in read_log(folder)] == [
            (line["step"], line.get("loss"), line.get("AP")) for line in read_log(tmp_path / "whole")
        ]
        assert (folder / "best.safetensors").read_bytes() == (tmp_path / "whole/best.safetensors").read_bytes()


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Files may grow to so many bytes from when it is called; -1 lifts that."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_shows_before_the_first_step(
    painted_coco: Path, tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    small_disk(100_000)
    with pytest.raises(OSError, match=r"last\.pt: cannot be written; is the disk full\?") as error:
        train(tiny_config(painted_coco, tmp_path / "run"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_deleted_ends_the_run(
    painted_coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, folder = RunLog.write, tmp_path / "run"

    def write(log: RunLog, group: str, **values: float) -> None:
        shutil.rmtree(folder)
        real(log, group, **values)

    monkeypatch.setattr(RunLog, "write", write)
    with pytest.raises(FileNotFoundError, match=r"run/log\.jsonl"):
        train(tiny_config(painted_coco, folder))
    assert not folder.exists()


@pytest.mark.slow
def test_a_disk_that_fills_up_keeps_the_last_checkpoint(
    painted_coco: Path, tmp_path: Path, small_disk: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tiny_config(painted_coco, tmp_path / "whole"))
    real, saves = torch.save, []

    def save(content: Any, path: Any) -> None:
        saves.append(path)
        if len(saves) == 4:
            small_disk(100_000)
        real(content, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(OSError, match="is the disk full"):
            train(tiny_config(painted_coco, tmp_path / "run", save_every=1))
    small_disk(-1)
    assert last_state(tmp_path / "run")["step"] == 2
    train(tiny_config(painted_coco, tmp_path / "run", save_every=1, resume=True))
    assert same_weights(last_weights(tmp_path / "run"), last_weights(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to signal")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_saves_and_says_so(
    painted_coco: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    save_config(
        tiny_config(painted_coco, tmp_path / "run", epochs=500, workers=1, device="cpu"), tmp_path / "config.json"
    )
    command = [sys.executable, "-m", "hrkit", "train", "--config", str(tmp_path / "config.json")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    seen = ""
    while "loss=" not in seen:  # the bar shows that steps are made
        seen += process.stderr.read(1)
    os.killpg(process.pid, number)
    rest = process.stderr.read()
    assert process.wait() == code, rest
    assert "go on with --resume" in rest
    assert "Traceback" not in rest
    assert last_state(tmp_path / "run")["step"] > 0
