"""Runs that are killed at random moments and gone on with: at the end there are the bytes of a run that was not.

Processes are forked, so none has to import torch. `python tests/hostile/kills.py --extract 100 --train 50` does it all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo  # every child would import it at its first step

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / "fixtures")]

import hrkit.commands.extract
import hrkit.extraction.one_video
import hrkit.pipeline
from hrkit.cli import main
from hrkit.training.run import train
from made_coco import make_coco
from made_videos import make_video
from tiny_runs import last_weights, read_log, same_weights, tiny_config
from walking import walk

hrkit.extraction.one_video.STATE_FRAMES = 3  # states are saved so often

Run = Callable[[], None]
LOG = "output.txt"


def begun(run: Run) -> int:
    """The process of a run, whose output goes to `LOG`."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        with open(LOG, "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            run()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:
        with open(LOG, "a") as log:
            log.write(f"{type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


def ended(process: int) -> int:
    """Its exit code, below 0 for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed(run: Run, times: int, longest: float, rng: random.Random, at_once: int = 1) -> int:
    """Begins `at_once` runs together and kills them, `times` times, then lets one end. Returns how many were hit."""
    hits = 0
    while hits < times:
        processes = [begun(run) for _ in range(at_once)]
        time.sleep(rng.uniform(0, longest))
        for process in processes:
            os.kill(process, signal.SIGKILL)
        codes = [ended(process) for process in processes]
        assert not any(code in (1, 70) for code in codes), Path(LOG).read_text()[-2000:]
        hits += sum(code == -signal.SIGKILL for code in codes)
        if 0 in codes:  # it was done before
            break
    code = ended(begun(run))
    assert code == 0, Path(LOG).read_text()[-2000:]
    return hits


def extraction(output: str) -> Run:
    """A run of `hrkit extract --resume`."""
    networks = "--backbone synthetic --detector synthetic --weights none --device cpu --detect-every 2 --smooth"
    return lambda: main(["extract", "walk.mkv", "-o", output, "--resume", *networks.split()])


def kill_extractions(times: int, at_once: int, rng: random.Random) -> int:
    """Compares the files of an extraction."""
    if not Path("walk.mkv").exists():
        make_video(Path("walk.mkv"), images=walk(16, people=1)[0])
    for path in Path().glob("whole.*"):
        path.unlink()
    began = time.monotonic()
    assert ended(begun(extraction("whole.csv"))) == 0, Path(LOG).read_text()
    longest, hits = time.monotonic() - began, 0
    while hits < times:
        for path in Path().glob("killed.*"):
            path.unlink()
        hits += killed(extraction("killed.csv"), min(times - hits, 8), longest, rng, at_once)
        for ending in ("csv", "csv.meta.json"):
            assert Path(f"killed.{ending}").read_bytes() == Path(f"whole.{ending}").read_bytes(), ending
        assert not list(Path().glob("killed.csv.*part*"))
    return hits


def kill_trainings(times: int, rng: random.Random) -> int:
    """Compares the weights and the log of a training."""
    data = make_coco(Path("data"), pictures=4, people=2)

    def training(output: str) -> Run:
        def run() -> None:
            begun_before = Path(output, "config.json").exists()
            train(tiny_config(data, Path(output), epochs=6, save_every=1, ema=0.9, resume=begun_before))

        return run

    began = time.monotonic()
    assert ended(begun(training("whole"))) == 0, Path(LOG).read_text()
    longest, hits, number = time.monotonic() - began, 0, 0
    while hits < times:
        output, number = f"killed{number}", number + 1
        hits += killed(training(output), min(times - hits, 5), longest, rng)
        assert same_weights(last_weights(Path(output)), last_weights(Path("whole")))
        assert Path(output, "best.safetensors").read_bytes() == Path("whole/best.safetensors").read_bytes()
        logs = [[{**line, "samples_per_second": 0} for line in read_log(Path(run))] for run in (output, "whole")]
        assert json.dumps(logs[0]) == json.dumps(logs[1])
    return hits


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extract", type=int, default=0)
    parser.add_argument("--train", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if options.extract:
            hits = kill_extractions(options.extract // 2, 1, random.Random(options.seed))
            hits += kill_extractions(options.extract - options.extract // 2, 2, random.Random(options.seed + 1))
            print(f"extract: {hits} killed, the same bytes", flush=True)
        if options.train:
            print(f"train: {kill_trainings(options.train, random.Random(options.seed))} killed, the same bytes")
