"""The networks that callers can choose, and the pipelines built from them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from attrs import frozen

from hrkit import list_names
from hrkit.errors import WeightsError
from hrkit.weights import catalogue
from hrkit_web.errors import RefusedError

if TYPE_CHECKING:
    from hrkit.pipeline import Pipeline
    from hrkit_web.networks.batching import Batcher

NO_DETECTOR = "none"
"""Name that stands for no detector: the whole picture is one person."""

LOWEST_THRESHOLD = 0.1
"""Threshold that detectors are built with. Each request can set a higher one."""

KEPT = 2
"""Pipelines kept in memory. A new one replaces the least recently used."""

KINDS: Mapping[str, catalogue.Kind] = {"backbones": "pose", "detectors": "detector"}
"""What callers can choose, and the kind of its weights."""

Build = Callable[[str, str], "Pipeline"]


@frozen
class Model:
    """A network that has weights."""

    name: str
    at_hand: bool
    """Whether its weights are on this machine. If not, they are downloaded when it is first chosen."""
    megabytes: int | None
    licence: str


def choices() -> dict[str, list[Model]]:
    """The backbones and detectors that have weights, by name, those on this machine first."""
    return {kind: _with_weights(kind, of) for kind, of in KINDS.items()}


def _with_weights(kind: str, of: catalogue.Kind) -> list[Model]:
    entries = {}
    for name in list_names(kind):
        with contextlib.suppress(WeightsError):  # none, or for other bodies only
            entries[name] = catalogue.choose(name, kind=of)
    models = [_model(name, entry) for name, entry in entries.items()]
    return sorted(models, key=lambda model: (not model.at_hand, model.name))


def _model(name: str, entry: catalogue.WeightsEntry) -> Model:
    at_hand = catalogue.is_cached(entry)
    size = catalogue.cache_path(entry).stat().st_size if at_hand else entry.size
    return Model(name, at_hand, None if size is None else max(1, round(size / 1e6)), entry.licence)


def build_pipeline(
    backbone: str, detector: str, *, device: str = "auto", precision: str = "auto", runtime: str = "auto"
) -> Pipeline:
    """Builds a pipeline from two names. Options and errors are those of `Pipeline.from_names`."""
    from hrkit.pipeline import Pipeline

    return Pipeline.from_names(
        backbone,
        None if detector == NO_DETECTOR else detector,
        detection_threshold=LOWEST_THRESHOLD,
        device=device,
        precision=precision,
        runtime=runtime,
    )


class Models:
    """Pipelines by the names of their networks, each built in the batcher's thread when it is first requested."""

    def __init__(
        self,
        batcher: Batcher,
        build: Build,
        default: tuple[str, str],
        offered: Callable[[], Mapping[str, list[Model]]] = choices,
    ) -> None:
        self.default = default
        self._batcher, self._build, self._offered = batcher, build, offered
        self._fetcher = ThreadPoolExecutor(1, "weights")
        self._pipelines: OrderedDict[tuple[str, str], Future[Pipeline]] = OrderedDict()

    def offered(self) -> Mapping[str, list[Model]]:
        """The names that `get` accepts, in addition to the default."""
        return self._offered()

    async def get(self, backbone: str | None, detector: str | None) -> Pipeline:
        """The pipeline of two names; None stands for the default.

        Raises `RefusedError` for names that are not offered, and whatever building raises. Building goes on if a caller
        stops waiting.
        """
        names = backbone or self.default[0], detector or self.default[1]
        if names not in self._pipelines:
            self._check(*names)
        building = self._begun(names)
        try:
            return await asyncio.shield(asyncio.wrap_future(building))
        except Exception:
            if self._pipelines.get(names) is building:
                del self._pipelines[names]  # the next request tries again
            raise

    def prepare(self) -> None:
        """Builds the default pipeline ahead of the first request. Raises whatever building raises."""
        self._begun(self.default).result()

    def _begun(self, names: tuple[str, str]) -> Future[Pipeline]:
        if names not in self._pipelines:
            self._pipelines[names] = self._fetcher.submit(self._fetched_and_built, *names)
        self._pipelines.move_to_end(names)
        while len(self._pipelines) > KEPT:
            self._pipelines.popitem(last=False)
        return self._pipelines[names]

    def _fetched_and_built(self, *names: str) -> Pipeline:
        """Downloads here, as they take minutes in which the batcher must stay free, then builds in its thread."""
        for name, kind in zip(names, KINDS.values(), strict=True):
            if catalogue.entries(name, kind):
                catalogue.resolve(name, "auto", kind=kind)
        return self._batcher.call(lambda: self._build(*names)).result()

    def close(self) -> None:
        """Cancels downloads that have not begun, without waiting."""
        self._fetcher.shutdown(wait=False, cancel_futures=True)

    def _check(self, backbone: str, detector: str) -> None:
        offered = self.offered()
        for kind, name, own in zip(KINDS, (backbone, detector), self.default, strict=True):
            if name not in {own, NO_DETECTOR if kind == "detectors" else own, *(one.name for one in offered[kind])}:
                raise RefusedError(422, f"no such {kind[:-1]}; see /v1/models")
