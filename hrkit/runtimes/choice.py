"""The way that runtime "auto" takes on a CPU: the fastest, measured once, then remembered in the cache folder."""

from __future__ import annotations

import functools
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from attrs import asdict, frozen
from filelock import FileLock, Timeout
from torch import Tensor, nn

from hrkit.errors import HrkitError, PluginError, one_line
from hrkit.files import read_json, write_text
from hrkit.runtimes import converted
from hrkit.runtimes.conversion import PACKAGES

logger: logging.Logger = logging.getLogger("hrkit")

RIVALS = ("openvino", "onnx")
"""Runtimes that are measured against hrkit's own way, where they are installed."""

GAIN = 1.04
"""How many times as fast another way must be, or the first one stays."""

SECONDS = 3.0
"""Time for measuring a network. Each way is timed three times even if that takes longer."""

SEVERAL = 8
"""The largest batch that is measured, beside a batch of one."""

LARGE = 128 << 20
"""Bytes of weights above which a second rival is not tried: converting takes four times as much, for a few per cent."""

_FILE = "choices.json"


@frozen
class Choice:
    """The way for a batch of one and for larger ones, and why: milliseconds per input by batch and way."""

    network: str
    input_size: tuple[int, int]
    threads: int
    precision: str
    single: str
    several: str
    milliseconds: dict[str, dict[str, float]]
    left_out: dict[str, str]
    """The ways that do not work for the network, each with the reason."""

    def __str__(self) -> str:
        height, width = self.input_size
        timed = "; ".join(
            f"batch of {size}: {', '.join(f'{name} {took:.1f}' for name, took in ways.items())} ms each"
            for size, ways in self.milliseconds.items()
        )
        chosen = self.single if self.single == self.several else f"{self.single} for one, else {self.several}"
        left_out = "".join(f"; {name} left out: {why}" for name, why in self.left_out.items())
        return f"{height}x{width} {self.precision}, {self.threads} threads: {chosen} ({timed or 'alone'}{left_out})"


class BySize(nn.Module):
    """Computes a batch of one in one way and larger batches in another."""

    def __init__(self, single: nn.Module, several: nn.Module) -> None:
        super().__init__()
        self.several: nn.Module = several
        self.single: nn.Module = single

    def forward(self, images: Tensor) -> Any:  # Any: a tensor or several, as the network gives
        """(N,3,H,W) -> what the network gives."""
        return (self.single if len(images) == 1 else self.several)(images)


def rivals() -> list[str]:
    """The installed runtimes to measure; none if the environment variable HRKIT_MEASURE is 0."""
    if os.environ.get("HRKIT_MEASURE") == "0":
        return []
    return [name for name in RIVALS if all(converted.version(package) for package in PACKAGES[name])]


def fastest(network: nn.Module, example: Tensor, precision: str, ways: Mapping[str, Callable[[], nn.Module]]) -> Any:
    """The network computed in the fastest of the ways. The first is the usual one and always works.

    What is measured is remembered for the processor, threads, versions, precision, architecture and input size. A way
    that stops working is replaced by the first, with a warning.
    """
    packages = {package: converted.version(package) for name in ways for package in PACKAGES.get(name, ())}
    facts = (converted.processor(), torch.get_num_threads(), precision, tuple(example.shape), sorted(packages.items()))
    key = converted.fingerprint(network, *facts, list(ways), values=False)
    built: dict[str, nn.Module] = {}
    choice = remembered().get(key) or _decide(key, lambda: measured(network, example, precision, ways, built))
    usual = next(iter(ways))
    single, several = (usual, usual) if choice is None else (choice.single, choice.several)
    for name in {single, several} - set(built):
        try:
            built[name] = ways[name]()
        except Exception as error:
            if name == usual:
                raise
            _warn(name, one_line(error), f"networks run {usual}")
            return built.get(usual) or ways[usual]()
    return built[single] if single == several else BySize(built[single], built[several])


@functools.cache
def _warn(name: str, why: str, instead: str) -> None:
    logger.warning("%s does not work (%s); %s", name, why, instead)


def remembered() -> dict[str, Choice]:
    """The choices in the cache folder. A file that is damaged counts as empty."""
    try:
        rows = read_json(converted.folder() / _FILE)
        return {key: Choice(**{**row, "input_size": tuple(row["input_size"])}) for key, row in rows.items()}
    except (HrkitError, AttributeError, TypeError, KeyError):
        return {}


def _decide(key: str, measure: Callable[[], Choice]) -> Choice | None:
    """What `measure` finds; None if it cannot be kept. One process measures, and others wait for it."""
    try:
        converted.folder().mkdir(parents=True, exist_ok=True)
        with FileLock(converted.folder() / f"{_FILE}.lock", timeout=60):
            known = remembered()
            if key not in known:
                known[key] = measure()
                rows = {name: asdict(choice) for name, choice in known.items()}
                write_text(converted.folder() / _FILE, json.dumps(rows, indent=1))
            return known[key]
    except (OSError, Timeout, NotImplementedError) as error:
        logger.debug("runtimes are not measured: %s", one_line(error))
        return None


def measured(
    network: nn.Module,
    example: Tensor,
    precision: str,
    ways: Mapping[str, Callable[[], nn.Module]],
    built: dict[str, nn.Module],
) -> Choice:
    """The fastest ways: each after the first is built into `built`, and takes turns with the fastest so far.

    One input and several are timed apart. What is too slow leaves `built` before the next way is built, as large
    networks would fill the memory.
    """
    of = getattr(network, "name", "") or type(network).__name__
    logger.info("measuring how %s runs fastest on this machine, once", of)
    usual = single = several = next(iter(ways))
    built[usual] = ways[usual]()
    left_out: dict[str, str] = {}
    milliseconds: dict[str, dict[str, float]] = {}
    limit = SECONDS / (2 * max(1, len(ways) - 1))  # for one comparison
    large = sum(weight.nbytes for weight in network.parameters()) > LARGE
    count = 0
    for name in list(ways)[1:]:
        if large and milliseconds:
            left_out[name] = "not tried for a large network"
            continue
        try:
            built[name] = ways[name]()
        except Exception as error:
            left_out[name] = one_line(error)[:200]
            if isinstance(error, PluginError):  # the package is broken, rather than the network too new for it
                _warn(name, left_out[name], "it is left out")
            continue
        single, seconds = _faster(built, single, name, example, limit)
        milliseconds.setdefault("1", {}).update({way: 1e3 * took for way, took in seconds.items()})
        affordable = int(limit / (2 * sum(seconds.values())))  # inputs per batch, in time for four rounds
        count = count or min(SEVERAL, max(1, affordable))
        if count > 1:
            several, seconds = _faster(built, several, name, example.expand(count, *example.shape[1:]), limit)
            milliseconds.setdefault(str(count), {}).update({way: 1e3 * took / count for way, took in seconds.items()})
        else:
            several = single
        for slow in set(built) - {single, several}:
            del built[slow]
    size = (int(example.shape[2]), int(example.shape[3]))
    return Choice(of, size, torch.get_num_threads(), precision, single, several, milliseconds, left_out)


def _faster(
    ways: Mapping[str, nn.Module], known: str, rival: str, images: Tensor, limit: float
) -> tuple[str, dict[str, float]]:
    """The rival if it is `GAIN` times as fast as the known way, else that, and the median seconds of both.

    They take turns. Both the median ratio within a turn and the ratio of the shortest times must show the gain, so a
    slow moment of the machine decides nothing.
    """
    images = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    took: dict[str, list[float]] = {known: [], rival: []}
    started = time.perf_counter()
    with torch.inference_mode():
        for name in took:
            ways[name](images)  # the first call allocates and compiles
        while len(took[rival]) < 3 or (len(took[rival]) < 15 and time.perf_counter() - started < limit):
            for name, seconds in took.items():
                before = time.perf_counter()
                ways[name](images)
                seconds.append(time.perf_counter() - before)
    gains = [slow / fast for slow, fast in zip(took[known], took[rival], strict=True)]
    gain = min(statistics.median(gains), min(took[known]) / min(took[rival]))
    return (rival if gain > GAIN else known), {name: statistics.median(seconds) for name, seconds in took.items()}
