"""The figures by which the speed of hrkit is judged, in one table: ratios within one run, in turns.

    python benchmarks/figures.py --video street.mp4 --photos photos/ --detector-weights yolov3-tiny.weights
        [--threads 2] [--compile] [--only networks,video]

Takes half an hour, most of it for HRNet-W48. Runtimes that are not installed are left out.
"""

from __future__ import annotations

import functools
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import attrs
import click
import compare
import runtimes
import torch
from torch import nn

from hrkit.benchmark.inference import (
    STANDARD,
    Figure,
    Pair,
    Scene,
    blank_input,
    built,
    crowd,
    in_words,
    interleaved,
    machine,
    whole,
)
from hrkit.evaluation.report import markdown_table
from hrkit.images import find_images, read_image
from hrkit.pipeline import Pipeline
from hrkit.profiling import network_seconds
from hrkit.runtimes.allocator import keep_freed_memory
from hrkit.structures import Frame

W32, W48, LITE = STANDARD

BATCHES = {"hrnet_w32": (1, 4, 8, 16, 32), "hrnet_w48@384x288": (1, 4, 8, 16, 32), "lite": (1, 4)}
"""The networks whose runtimes are compared, with the numbers of people."""


def networks(rounds: int, compiled: bool) -> Iterator[Figure]:
    """What `auto` takes over the best of other runtimes, and one person over the matrix product."""
    for name, batches in BATCHES.items():
        network, size = runtimes.network_of(name)
        ways = dict(runtimes.ways_of(network, size, "auto", own=("auto",)))
        if compiled:
            ways["torch.compile"] = runtimes.compiled(network)
        for people in batches:
            images = blank_input(network, size, people)
            work = {way: functools.partial(made, images) for way, made in ways.items()}
            seconds = {way: timing.low for way, timing in interleaved(work, rounds).items()}
            best = min(seconds.keys() - {"auto"}, key=lambda way: seconds[way], default="auto")
            each = f"{1e3 * seconds['auto'] / people:.1f} ms a person"
            what = f"auto ({each}) over {best}, the best other, people at once: {people}"
            yield Figure(name, what, seconds[best] / seconds["auto"], "times as fast")
    for pair in (W32, LITE):
        _, model, _, _ = built(pair, [])
        yield compare.over_limit(pair, Pipeline(model), model, 3 * rounds, batch=1)


def naive(rounds: int, photos: Sequence[Frame], detector_weights: str | None) -> Iterator[Figure]:
    """Photos one by one against the way of many programs, as `compare.NaiveBaseline` has it."""
    for wanted in (W32, W48):
        pair, model, detector, scenes = built(attrs.evolve(wanted, detector_weights=detector_weights), photos)
        pipeline = Pipeline(model, detector)
        other = compare.NaiveBaseline(model, compare.naive_detector(pair, detector))
        for scene in scenes:
            ours, theirs = functools.partial(one_by_one, pipeline, scene), functools.partial(other.whole, scene)
            yield compare.over_naive(pair, scene, ours, theirs, rounds)


def one_by_one(pipeline: Pipeline, scene: Scene) -> None:
    """Finds the poses of a scene's frames, each in a call of its own."""
    for photo in scene:
        whole(pipeline, [photo])


def small(rounds: int) -> Iterator[Figure]:
    """`lite` with `lite_person`: a small photo, and what is around the networks."""
    pair, model, detector, _ = built(LITE, [])
    pipeline, scene = Pipeline(model, detector), crowd(2, (480, 640))
    (timing,) = interleaved({"whole": lambda: whole(pipeline, scene)}, 4 * rounds).values()
    yield Figure(str(pair), f"end to end, {in_words(scene)}", 1 / timing.median, "photos/s")
    around, drawing = compare.outside_networks(pipeline, 10 * rounds)
    yield Figure(str(pair), "outside both networks without drawing, 4 people in 1280x720", 1e3 * around, "ms")
    yield Figure(str(pair), "drawing, 4 people in 1280x720", 1e3 * drawing, "ms")


def video(rounds: int, path: Path) -> Iterator[Figure]:
    """The commands on a video, whole, with the detector on every frame and on every fifth."""
    with tempfile.TemporaryDirectory() as folder:
        said = run("demo", path, "--detect-every", 5, "--output", f"{folder}/drawn.mp4")
        rate = re.search(r"([\d.]+) frames/s", said)
        assert rate is not None, said
        yield Figure(path.name, "hrkit demo --detect-every 5", float(rate[1]), "frames/s")

        def extract(every: int) -> object:
            return run("extract", path, "--detect-every", every, "--output", f"{folder}/{every}.csv", "--overwrite")

        timings = interleaved({"each": lambda: extract(1), "fifth": lambda: extract(5)}, rounds)
        ratio = timings["each"].median / timings["fifth"].median
        yield Figure(path.name, "hrkit extract, --detect-every 5 over every frame", ratio, "times as fast")
    pipeline = Pipeline.from_names("lite", "lite_person")
    parts = (pipeline.pose_model, getattr(pipeline.detector, "network", None))
    with network_seconds(*(part for part in parts if isinstance(part, nn.Module))) as inside:
        whole_video(pipeline, path)  # the first frames load and allocate
        inside.clear()
        started = time.perf_counter()
        frames = whole_video(pipeline, path)
        seconds = time.perf_counter() - started
    yield Figure(path.name, f"poses of {frames} frames: share of the time in the networks", sum(inside) / seconds, "")


def run(*arguments: object) -> str:
    """What the command of hrkit prints, with the offline pair."""
    command = [sys.executable, "-m", "hrkit", *map(str, arguments), "--backbone", "lite", "--detector", "lite_person"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"hrkit {arguments[0]}: {done.stderr.strip()}")
    return done.stdout + done.stderr


def whole_video(pipeline: Pipeline, path: Path) -> int:
    """Finds the poses of all frames; their number."""
    return sum(1 for _ in pipeline.video(path))


def memory(rounds: int) -> Iterator[Figure]:
    """The largest memory of a process in which HRNet-W48 finds 64 people of a frame."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        peak = process.submit(largest_memory, W48, 64, rounds, torch.get_num_threads()).result()
    yield Figure(str(W48), "largest memory, 64 people in 1280x720", peak, "GiB")


def largest_memory(pair: Pair, count: int, rounds: int, threads: int) -> float:
    """GiB of this process, after it found the poses of `count` people `rounds` times."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    pipeline = Pipeline(built(pair, [])[1])
    ((frame, found),) = crowd(count)
    for _ in range(rounds):
        pipeline.predict(frame, found)
    return runtimes.peak_memory()


@click.command()
@click.option("--only", default="networks,naive,small,video,memory", show_default=True, help="Parts to measure.")
@click.option("--photos", help="Folder of pictures for the naive way; needs --detector-weights.")
@click.option("--detector-weights", help="File of weights for yolov3_tiny.  [default: random]")
@click.option("--video", "video_path", type=click.Path(path_type=Path), help="For the part `video`.  [default: none]")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often each is timed.")
@click.option("--threads", type=click.IntRange(1), help="[default: torch's]")
@click.option("--compile", "with_compile", is_flag=True, help="Time torch.compile too; it needs a C++ compiler.")
def main(
    only: str,
    photos: str | None,
    detector_weights: str | None,
    video_path: Path | None,
    rounds: int,
    threads: int | None,
    with_compile: bool,
) -> None:
    """Prints the figures by which the speed of hrkit is judged."""
    if photos and not detector_weights:
        raise click.UsageError("--photos needs --detector-weights: a random detector finds nobody in them")
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    pictures = [read_image(path) for path in find_images(photos)[:8]] if photos else []
    parts = {
        "networks": lambda: networks(rounds, with_compile),
        "naive": lambda: naive(rounds, pictures, detector_weights),
        "small": lambda: small(rounds),
        "video": lambda: video(rounds, video_path) if video_path is not None else iter(()),
        "memory": lambda: memory(rounds),
    }
    wanted = only.split(",")
    if unknown := set(wanted) - set(parts):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; choices: {', '.join(parts)}", param_hint="--only")
    rows = []
    for name in wanted:
        for figure in parts[name]():
            rows.append([figure.of, figure.what, f"{figure.value:.2f}", figure.unit])
            click.echo(" ".join(rows[-1]), err=True)
    click.echo(f"On {machine()}; {runtimes.matrix_unit()}.\n\n{markdown_table(['of', 'what', '', ''], rows)}")


if __name__ == "__main__":
    main()
