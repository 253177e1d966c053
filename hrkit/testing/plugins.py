"""All parts that a plugin registers, checked against the contract one by one."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any  # what builders take and give differs from kind to kind

import torch
from attrs import field, frozen

from hrkit import registry
from hrkit.errors import HrkitError, PluginError, UnknownNameError, one_line
from hrkit.pipeline import create_detector
from hrkit.registry import KINDS, Registered, Registry
from hrkit.runtimes.conversion import PACKAGES
from hrkit.testing import backbones, commands, datasets, decoders, detectors, engines, heads, runtimes, weights
from hrkit.testing.report import Finding, effects, raised, wrong
from hrkit.testing.watch import Watch
from hrkit.weights import catalogue

OWN = "hrkit"
"""The name that stands for hrkit's own parts, as if they were one plugin."""

EXAMPLES: Mapping[str, str] = {"hrnet_w*": "hrnet_w8", "hrnetv2_w*": "hrnetv2_w4", "timm/*": "timm/resnet10t"}
"""Names to check hrkit's own patterns with."""

BUILT = "it is built"

UNTRAINED: Mapping[str, Mapping[str, int]] = {"yolov3": {"input_size": 64}, "yolov3_tiny": {"input_size": 64}}
"""Options of hrkit's own detectors without weights: with random values, small frames do as well."""


@frozen(eq=False)
class Part:
    """Something that a plugin registers, how to build it, and what it did to the process so far."""

    kind: str
    name: str
    """The full name, also if a pattern is registered."""
    entry: Registered
    path: str | None = None  # for a dataset
    watch: Watch = field(factory=Watch)

    @property
    def title(self) -> str:
        """Such as "detector yolov3"."""
        return f"{self.kind if self.kind == 'weights' else self.kind.removesuffix('s')} {self.name}"

    @property
    def about(self) -> dict[str, Any]:
        """What contracts are told about it."""
        return {"part": self.title, "watch": self.watch}

    @property
    def own(self) -> bool:
        return self.entry.plugin.startswith(f"{OWN}.")

    @property
    def builder(self) -> Callable[..., Any]:
        return Registry(self.kind).builder(self.name)

    def built(self, build: Callable[..., Any], *arguments: Any, **options: Any) -> Generator[Finding, None, Any]:
        """What `build` makes of the arguments; yields the finding that it does."""
        with self.watch.over(self.title, BUILT):
            made = build(*arguments, **options)
        yield Finding(self.title, BUILT, "ok")
        return made

    def not_judged(self, reason: str, example: str) -> Finding:
        return Finding(self.title, BUILT, "not judged", f"{reason}: --part {example}")


def check_plugin(name: str, parts: Sequence[str] = ()) -> list[Finding]:
    """What is wrong with the parts of a plugin; an empty list if nothing is.

    `name` is the plugin's, its distribution's, or "hrkit" for hrkit's own parts. `parts` names some of them (none: all
    are checked): a full name if a pattern is registered, `NAME:PATH` for a dataset. Parts that cannot be built without
    such a name are left out. Detectors have their default weights if these are at hand, and random values otherwise.
    Raises `UnknownNameError` for unknown names.
    """
    return wrong(examine_plugin(name, parts))


def examine_plugin(name: str, parts: Sequence[str] = ()) -> Iterator[Finding]:
    """As `check_plugin`, but every finding, each as soon as it is known."""
    yield from examine_loading(name)
    for part in choose_parts(name, parts):
        yield from examine_part(part)


def examine_loading(name: str) -> Iterator[Finding]:
    """What is wrong with a plugin before its parts are looked at."""
    plugins, registered = _plugins(name), set()
    for kind in KINDS:
        try:
            registered |= {entry.plugin for entry in registry.plugins.collect(kind).values()}
        except PluginError as clash:
            registered |= set(plugins)
            yield Finding(f"plugin {name}", f"names of {kind} are free", "wrong", one_line(clash))
    for plugin in plugins:
        failure = registry.plugins.failed.get(plugin)
        if failure is not None:
            yield Finding(f"plugin {plugin}", "it loads", "wrong", raised(failure))
        elif plugin not in registered:
            advice = "mark functions such as register_detectors with @hrkit.hookimpl, in the module of the entry point"
            yield Finding(f"plugin {plugin}", "it brings something", "wrong", "no hook of it gives a name", advice)


def choose_parts(name: str, parts: Sequence[str] = ()) -> list[Part]:
    """The parts of a plugin, or those of them that are named. Raises `UnknownNameError`."""
    found = list(_registered(_plugins(name)))
    return [part for text in parts for part in _named(name, text, found)] or found


def examine_part(part: Part) -> Iterator[Finding]:
    """All findings about one part."""
    if "*" in part.name:
        yield part.not_judged("it is a pattern; name one of its kind", part.name.replace("*", "NAME"))
        return
    try:
        yield from EXAMINE[part.kind](part)
    except (Exception, SystemExit) as error:  # code of others may raise anything
        yield Finding(part.title, BUILT, "wrong", raised(error), ADVICE.get(part.kind, ""))
    yield from effects(part.watch, part.title)


def _plugins(name: str) -> list[str]:
    """The plugins that a name stands for. Raises `UnknownNameError` if there is none."""
    there = list(dict.fromkeys([*registry.plugins.names(), *registry.plugins.failed]))
    brought_by = {plugin: version.split()[0] for plugin, version in registry.plugins.versions.items()}
    if _normal(name) in (OWN, "hrkit-pose"):
        return [plugin for plugin in there if plugin.startswith(f"{OWN}.")]
    found = [plugin for plugin in there if {name, _normal(name)} & {plugin, _normal(brought_by.get(plugin, plugin))}]
    if not found:
        raise UnknownNameError("plugin", name, {OWN, *there, *brought_by.values()}, hint=registry.where_else(name))
    return found


def _normal(distribution: str) -> str:
    """A name in the form in which distributions are compared."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _registered(plugins: Sequence[str]) -> Iterator[Part]:
    for kind in KINDS:
        with contextlib.suppress(PluginError):
            for name, entry in registry.plugins.collect(kind).items():
                if entry.plugin in plugins:
                    part = Part(kind, name, entry)
                    yield Part(kind, EXAMPLES.get(name, name), entry) if part.own else part


def _named(plugin: str, text: str, parts: Sequence[Part]) -> list[Part]:
    """The parts that `text` names: as they are registered, by a full name for a pattern, or a dataset with its path."""
    exact = [part for part in parts if part.name == text and "*" not in text]
    if exact:
        return exact
    found = []
    for kind in KINDS:
        name, _, path = text.partition(":") if kind == "datasets" else (text, "", "")
        with contextlib.suppress(UnknownNameError):
            entry, _ = Registry(kind).find(name)
            if "*" not in name and any(part.entry is entry for part in parts):
                found.append(Part(kind, name, entry, path or None))
    if not found:
        raise UnknownNameError(f"part of {plugin}", text, (part.name for part in parts))
    return found


def _examine_detector(part: Part) -> Iterator[Finding]:
    yield from detectors.BUILDER.examine(part.builder, **part.about)
    name = _weights_at_hand(part.name)
    options = UNTRAINED.get(part.name, {}) if part.own and not name else {}

    def build(**settings: float) -> Any:
        return _seeded(create_detector, part.name, weights=name, **options, **settings)

    yield from detectors.examine_detector((yield from part.built(build)), trained=name is not None, **part.about)
    yield from detectors.THRESHOLD.examine(build, **part.about)


def _weights_at_hand(detector: str) -> str | None:
    """The name of a detector's default weights, if the plugin carries them or they are in the cache."""
    if not catalogue.entries(detector, "detector"):
        return None
    entry = catalogue.choose(detector, kind="detector")
    return entry.name if catalogue.is_cached(entry) else None


def _seeded(build: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Calls `build` so that random values are the same in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(*arguments, **options)


def _examine_head(part: Part) -> Iterator[Finding]:
    features: dict[str, Any] = {}  # Any: channels and strides
    if part.name in registry.backbones.names():  # a head made for one backbone has its name
        backbone = registry.backbones.build(part.name)
        features = {"channels": tuple(backbone.channels), "strides": tuple(backbone.strides)}
    build = functools.partial(_seeded, part.builder)
    yield from heads.examine_head(build, **part.about, **features)


def _examine_dataset(part: Part) -> Iterator[Finding]:
    yield from datasets.BUILDER.examine(part.builder, **part.about)
    place = [] if part.path is None else [part.path]
    for split in ("train", "val"):
        try:
            dataset = yield from part.built(part.builder, *place, split=split)
        except Exception as error:
            problem = error
        else:
            yield from datasets.examine_dataset(dataset, **part.about)
            return
    wants_path = isinstance(problem, (HrkitError, OSError)) or "required positional argument" in str(problem)
    if part.path is not None or not wants_path:
        raise problem
    yield part.not_judged("it wants a path; name a place", f"{part.name}:PATH")


def _examine_runtime(part: Part) -> Iterator[Finding]:
    needs = PACKAGES.get(part.name.partition(":")[0], ()) if part.own else ()
    yield from runtimes.examine_runtime(part.builder, needs=needs, **part.about)


def _examine_backbone(part: Part) -> Iterator[Finding]:
    backbone = yield from part.built(_seeded, part.builder)
    yield from backbones.examine_backbone(backbone, **part.about)


EXAMINE: Mapping[str, Callable[[Part], Iterator[Finding]]] = {
    "backbones": _examine_backbone,
    "detectors": _examine_detector,
    "heads": _examine_head,
    "decoders": lambda part: decoders.examine_decoder(part.builder, **part.about),
    "datasets": _examine_dataset,
    "runtimes": _examine_runtime,
    "weights": lambda part: weights.examine_weights(part.entry.value, **part.about),
    "engines": lambda part: engines.examine_engine(part.builder, **part.about),
    "commands": lambda part: commands.examine_command(part.entry.value, **part.about),
}

ADVICE = {
    "backbones": "a builder of backbones takes no arguments",
    "datasets": "take a path, if any, and split by keyword",
}
"""What to do about a part that is not built, by kind."""
