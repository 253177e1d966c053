"""Compares the runtimes of networks, and the cost of an input in batches from 1 to 64.

    python benchmarks/runtimes.py [--networks hrnet_w32,lite] [--batches 1,8] [--threads 2]

Prints Markdown tables of milliseconds per input. Processor time says more than time on the clock on a machine that is
shared. Runtimes that are not installed are left out.
"""

from __future__ import annotations

import copy
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

import click
import torch
import torch._inductor.config as inductor
from torch import nn

from hrkit.benchmark.inference import blank_input, machine, randomise_weights
from hrkit.errors import HrkitError, one_line
from hrkit.evaluation.report import markdown_table
from hrkit.export import detector_network
from hrkit.pipeline import create_detector
from hrkit.pose_model import create_pose_model
from hrkit.registry import backbones
from hrkit.runtimes import choice
from hrkit.runtimes.allocator import keep_freed_memory
from hrkit.runtimes.complexity import layer_groups
from hrkit.runtimes.prepare import prepare
from hrkit.structures import Size

NETWORKS = "lite,lite_plus,pose_resnet_50,hrnet_w32,hrnet_w48@384x288,lite_person"
CPU = torch.device("cpu")


def network_of(name: str) -> tuple[nn.Module, Size]:
    """The network NAME or NAME@HEIGHTxWIDTH with random weights, and the size of its input."""
    name, _, given = name.partition("@")
    size = None
    if given:
        height, width = map(int, given.split("x"))
        size = (height, width)
    if name in backbones:
        model = create_pose_model(name, input_size=size, num_joints=None)
        return randomise_weights(model), model.input_size
    network, own = detector_network(create_detector(name, weights=None), name)
    return randomise_weights(network), size or own


def ways_of(
    network: nn.Module, size: Size, precision: str, own: Sequence[str] = ("eager", "fused", "auto")
) -> Iterator[tuple[str, nn.Module]]:
    """The network in hrkit's `own` ways and each other runtime that works here; "auto" may be the same as another."""
    for runtime in (*own, *choice.rivals()):
        try:
            yield runtime, prepare(network, torch.zeros(1, 3, *size), CPU, precision, runtime)
        except HrkitError as error:
            click.echo(f"{runtime} is left out: {one_line(error)}", err=True)


def compiled(network: nn.Module) -> nn.Module:
    """The network by `torch.compile`, its weights frozen, in float32 and channels-last."""
    inductor.freezing = True
    ready = copy.deepcopy(network).eval().to(memory_format=torch.channels_last)
    return torch.compile(ready, dynamic=False)  # type: ignore[return-value]  # called like a module


def matrix_unit() -> str:
    """Whether the processor has AMX, in words."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # new in torch 2.6
    return "AMX" if any(value for name, value in known.items() if name.startswith("amx")) else "no AMX"


def peak_memory() -> float:
    """The largest memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)


@torch.inference_mode()
def timed(ways: Mapping[str, nn.Module], size: Size, count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Milliseconds per input: median of the processor's time and of the clock's. The ways take turns."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            images = blank_input(way, size, count)
            started = time.process_time(), time.perf_counter()
            way(images)
            ended = time.process_time(), time.perf_counter()
            if number:  # the first call allocates and compiles
                took[name].append((ended[0] - started[0], ended[1] - started[1]))
    found = {}
    for name, rows in took.items():
        processor, clock = (1e3 * statistics.median(column) / count for column in zip(*rows, strict=True))
        found[name] = (processor, clock)
    return found


@torch.inference_mode()
def product_rate(rounds: int, size: int = 2048) -> float:
    """Operations per second of processor time in a float32 matrix product; two per multiply-add."""
    matrix = torch.rand(size, size)
    seconds = []
    for _ in range(rounds + 1):
        started = time.process_time()
        matrix @ matrix
        seconds.append(time.process_time() - started)
    return 2 * size**3 / min(seconds)


@click.command()
@click.option("--networks", default=NETWORKS, show_default=True, help="Names, or NAME@HEIGHTxWIDTH.")
@click.option("--batches", default="1,4,8,16,32,64", show_default=True, help="Inputs per call.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How often each is timed.")
@click.option("--threads", type=click.IntRange(1), help="[default: torch's]")
@click.option("--precision", default="auto", show_default=True, help="auto, float32, bfloat16 or float16.")
def main(networks: str, batches: str, rounds: int, threads: int | None, precision: str) -> None:
    """Compares the runtimes of networks, and the cost of an input in batches."""
    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    rate = product_rate(rounds)
    click.echo(
        f"On {machine()}; {matrix_unit()}; float32 product {rate / 1e9:.0f} GFLOP per second of processor time.\n"
    )
    for name in networks.split(","):
        network, size = network_of(name)
        operations = 2 * sum(group.multiply_adds for group in layer_groups(network, torch.zeros(1, 3, *size)))
        ways = dict(ways_of(network, size, precision))
        rows = []
        for count in map(int, batches.split(",")):
            figures = timed(ways, size, count, rounds)
            rows.append([str(count), *(f"{processor:.1f} ({clock:.1f})" for processor, clock in figures.values())])
        click.echo(f"### {name}\n\nMilliseconds of processor time per input, on the clock in brackets, by batch.")
        click.echo(f"At the rate of the product it would be {1e3 * operations / rate:.1f} ms.\n")
        click.echo(markdown_table(["batch", *ways], rows) + "\n")
    click.echo(f"Largest memory of the process: {peak_memory():.1f} GiB.")


if __name__ == "__main__":
    main()
