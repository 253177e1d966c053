"""All that a plugin registers, part by part, against the contract."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen

from hrkit import registry
from hrkit.errors import HrkitError, PluginError, UnknownNameError, one_line
from hrkit.pipeline import create_detector
from hrkit.registry import KINDS, Registered, Registry
from hrkit.runtimes.conversion import PACKAGES
from hrkit.testing.backbones import examine_backbone
from hrkit.testing.builders import examine_dataset_builder, examine_detector_builder, examine_threshold
from hrkit.testing.commands import examine_command
from hrkit.testing.datasets import examine_dataset
from hrkit.testing.decoders import examine_decoder
from hrkit.testing.detectors import examine_detector
from hrkit.testing.engines import examine_engine
from hrkit.testing.heads import CHANNELS, STRIDES, examine_head
from hrkit.testing.report import Finding, raised, wrong
from hrkit.testing.runtimes import examine_runtime
from hrkit.testing.weights import examine_weights
from hrkit.weights import catalogue

OWN = "hrkit"
"""hrkit's own parts, as if they were one plugin."""

EXAMPLES: Mapping[str, str] = {"hrnet_w*": "hrnet_w8", "timm/*": "timm/resnet10t"}
"""What stands for hrkit's own patterns."""

UNTRAINED: Mapping[str, Mapping[str, Any]] = {"yolov3": {"input_size": 64}, "yolov3_tiny": {"input_size": 64}}
"""Options of hrkit's own detectors where no weights are at hand: as initialised they see as little in small frames."""


@frozen(eq=False)
class Part:
    """Something that a plugin registers, and how to build it."""

    kind: str
    """One of `registry.KINDS`."""
    name: str
    """In full, where it stands for a pattern."""
    entry: Registered
    path: str | None = None
    """Of a dataset."""

    @property
    def title(self) -> str:
        """As "detector yolov3"."""
        return f"{self.kind if self.kind == 'weights' else self.kind.removesuffix('s')} {self.name}"


def check_plugin(name: str, parts: Sequence[str] = ()) -> list[Finding]:
    """What is wrong with the parts of a plugin; an empty list if nothing is.

    `name` is the plugin's, its distribution's, or "hrkit" for hrkit's own parts. `parts` are the names of some of them
    (none: all): a full name where a pattern is registered, `NAME:PATH` for a dataset. What cannot be built without such
    a name is left out. Detectors have their default weights where these are at hand, and are else as initialised.
    Raises `UnknownNameError` for names that are not there.
    """
    return wrong(examine_plugin(name, parts))


def examine_plugin(name: str, parts: Sequence[str] = ()) -> Iterator[Finding]:
    """As `check_plugin`, with what is right and what was not judged too, each as soon as it is known."""
    plugins = _plugins(name)
    for kind in KINDS:
        try:
            registry.plugins.collect(kind)
        except PluginError as clash:
            yield Finding(f"plugin {name}", f"names of {kind} are free", "wrong", one_line(clash))
    for plugin in plugins:
        failure = registry.plugins.failed.get(plugin)
        if failure is not None:
            yield Finding(f"plugin {plugin}", "it loads", "wrong", raised(failure))
    found = list(_registered(plugins))
    for part in [part for text in parts for part in _named(name, text, found)] or found:
        yield from _examine(part)


def _examine(part: Part) -> Iterator[Finding]:
    try:
        yield from _pattern(part) if "*" in part.name else EXAMINE[part.kind](part)
    except (Exception, SystemExit) as error:  # a stranger's code: whatever it raises is a finding, and others follow
        yield Finding(part.title, "it is built", "wrong", raised(error))


def _plugins(name: str) -> list[str]:
    """The plugins that a name stands for; raises `UnknownNameError`."""
    there = [*registry.plugins.names(), *registry.plugins.failed]
    brought_by = {plugin: version.split()[0] for plugin, version in registry.plugins.versions.items()}
    own = [plugin for plugin in there if plugin.startswith(f"{OWN}.")]
    meant = {
        plugin: {plugin, _normal(brought_by.get(plugin, plugin)), *([OWN] if plugin in own else [])} for plugin in there
    }
    found = [plugin for plugin, names in meant.items() if name in names or _normal(name) in names]
    if not found:
        raise UnknownNameError("plugin", name, {OWN, *there, *brought_by.values()})
    return found


def _normal(distribution: str) -> str:
    """As the names of distributions are compared."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _registered(plugins: Sequence[str]) -> Iterator[Part]:
    for kind in KINDS:
        try:
            entries = registry.plugins.collect(kind)
        except PluginError:
            continue
        for name, entry in entries.items():
            if entry.plugin in plugins:
                own = entry.plugin.startswith(f"{OWN}.")
                yield Part(kind, EXAMPLES.get(name, name) if own else name, entry)


def _named(plugin: str, text: str, parts: Sequence[Part]) -> list[Part]:
    """What `text` names: parts as they are registered, by a full name for a pattern, or a dataset with its path."""
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


def _build(part: Part) -> Callable[..., Any]:
    """The part's builder."""
    return Registry(part.kind).builder(part.name)


def _pattern(part: Part) -> Iterator[Finding]:
    example = part.name.replace("*", "NAME")
    yield Finding(part.title, "it is built", "not judged", f"it is a pattern; name one of its kind: --part {example}")


def _examine_backbone(part: Part) -> Iterator[Finding]:
    try:
        backbone = _seeded(_build(part))
    except Exception as error:
        yield Finding(part.title, "it is built", "wrong", raised(error), "a builder of backbones takes no arguments")
        return
    yield from examine_backbone(backbone, part=part.title)


def _examine_detector(part: Part) -> Iterator[Finding]:
    yield from examine_detector_builder(_build(part), part=part.title)
    weights = _weights_at_hand(part.name)
    options = {} if weights or not part.entry.plugin.startswith(f"{OWN}.") else UNTRAINED.get(part.name, {})

    def build(**settings: Any) -> Any:
        return _seeded(lambda: create_detector(part.name, weights=weights, **options, **settings))

    try:
        detector = build()
    except Exception as error:
        yield Finding(part.title, "it is built", "wrong", raised(error))
        return
    yield from examine_detector(detector, trained=weights is not None, part=part.title)
    yield from examine_threshold(lambda threshold: build(threshold=threshold), part=part.title)


def _weights_at_hand(detector: str) -> str | None:
    """The name of a detector's default weights, if the plugin carries them or they are in the cache."""
    if not catalogue.entries(detector, "detector"):
        return None
    entry = catalogue.choose(detector, kind="detector")
    return entry.name if catalogue.is_cached(entry) else None


def _seeded(build: Callable[[], Any]) -> Any:
    """What `build` makes, the same at every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def _examine_head(part: Part) -> Iterator[Finding]:
    channels, strides = CHANNELS, STRIDES
    if part.name in registry.backbones.names():  # a head that goes with one backbone has its name
        backbone = registry.backbones.build(part.name)
        channels, strides = tuple(backbone.channels), tuple(backbone.strides)
    build = _build(part)
    yield from examine_head(
        lambda **options: _seeded(lambda: build(**options)), channels=channels, strides=strides, part=part.title
    )


def _examine_decoder(part: Part) -> Iterator[Finding]:
    yield from examine_decoder(_build(part), part=part.title)


def _examine_dataset(part: Part) -> Iterator[Finding]:
    build = _build(part)
    yield from examine_dataset_builder(build, part=part.title)
    place = [] if part.path is None else [part.path]
    for split in ("train", "val"):
        try:
            dataset = build(*place, split=split)
        except Exception as error:
            problem = error
        else:
            yield from examine_dataset(dataset, part=part.title)
            return
    wants_path = isinstance(problem, (HrkitError, OSError)) or "required positional argument" in str(problem)
    if part.path is None and wants_path:
        reason = f"it wants a path; name a place: --part {part.name}:PATH"
        yield Finding(part.title, "it is built", "not judged", reason)
    else:
        yield Finding(part.title, "it is built", "wrong", raised(problem), "take a path, if any, and split by keyword")


def _examine_runtime(part: Part) -> Iterator[Finding]:
    own = part.entry.plugin.startswith(f"{OWN}.")
    needs = PACKAGES.get(part.name.partition(":")[0], ()) if own else ()
    yield from examine_runtime(_build(part), needs=needs, part=part.title)


def _examine_engine(part: Part) -> Iterator[Finding]:
    yield from examine_engine(_build(part), part=part.title)


def _examine_command(part: Part) -> Iterator[Finding]:
    yield from examine_command(part.entry.value, part=part.title)


def _examine_weights(part: Part) -> Iterator[Finding]:
    yield from examine_weights(part.entry.value, part=part.title)


EXAMINE: Mapping[str, Callable[[Part], Iterator[Finding]]] = {
    "backbones": _examine_backbone,
    "detectors": _examine_detector,
    "heads": _examine_head,
    "decoders": _examine_decoder,
    "datasets": _examine_dataset,
    "runtimes": _examine_runtime,
    "weights": _examine_weights,
    "engines": _examine_engine,
    "commands": _examine_command,
}
