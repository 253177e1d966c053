"""Which weights there are, which of them fit, and how to get them.

Entries come from the registry, so the entries of plugins stand beside hrkit's own, which are read from `published.tsv`.

The entries of MMPose's files are named `<model>-<dataset>-<height>x<width>[-<variant>]`. The variants `dark` and `udp`
also name the codec; `aic` was trained on AI Challenger and COCO. The figures are from MMPose's model zoo, on the
dataset's own test (COCO val2017 with a person detector). Percentages are fractions here. Two figures of
`pose_resnet_50-deepfashion_lower-256x192` changed places at the source, and those of UBody are COCO-WholeBody's, so
there are none. The table leaves out files that these networks cannot load (LiteHRNet, the UDP model with offset
channels, the COCO-AIC model with 19 joints) and ResNet-101 384x288, whose published address gives the 256x192 file. The
authors of HRNet published no checksums. The sha1 of Darknet's YOLOv3 is from OpenCV's samples.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from hrkit import registry
from hrkit.errors import UnknownNameError, WeightsError
from hrkit.files import FilePath, cache_dir
from hrkit.hookspecs import hookimpl
from hrkit.structures import Skeleton
from hrkit.weights import downloads, hub
from hrkit.weights.entry import Kind, WeightsEntry

_SUFFIXES = (".pth", ".pt", ".weights", ".safetensors", ".bin", ".tar")
_IN_FOLDERS = ("best.safetensors", hub.FILE, "last.pt")
"""The weights in the folder of a run or of published files: the best ones, else the last ones."""
_READERS: dict[str, Callable[[str], Any]] = {  # Any: what a field holds depends on its column; other columns are text
    "input_size": lambda text: text.split("x"),
    "sigma": lambda text: float(text) if " " not in text else text.split(),
    "codec_options": json.loads,
    "mean": str.split,
    "std": str.split,
    "metrics": lambda text: {name: float(value) for name, value in (part.split("=") for part in text.split())},
    "default": lambda text: text == "yes",
    "size": int,
}


@hookimpl
def register_weights() -> list[WeightsEntry]:
    """hrkit's own entries: pose networks, detectors, and classification weights to start training a backbone with."""
    return read_entries(Path(__file__).with_name("published.tsv"))


def read_entries(table: Path, **common: Any) -> list[WeightsEntry]:  # Any: values of fields
    """The entries of a table of tab-separated values, one per line; its first line names the fields.

    An empty cell leaves its field out. `common` holds fields that all entries share.
    """
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    fields = ({name: _READERS.get(name, str)(text) for name, text in row.items() if text} for row in rows)
    return [WeightsEntry(**{**common, **row}) for row in fields]


def entries(model: str | None = None, kind: Kind | None = None) -> list[WeightsEntry]:
    """The registered entries, in order of registration; only those of `model` and `kind` if given.

    An entry for a pattern, such as `hub/*`, counts for every model that fits the pattern.
    """
    registered = [entry.value for entry in registry.weights.entries().values()]
    if model is not None:
        registered = [own for entry in registered if (own := _of_model(entry, model)) is not None]
    return [entry for entry in registered if kind in (None, entry.kind)]


def _of_model(entry: WeightsEntry, model: str) -> WeightsEntry | None:
    """The entry if it is for `model`, else None; a pattern's `*` in its address is filled in from `model`."""
    text = registry.text_of(entry.model, model)
    if text is None:
        return entry if entry.model == model else None
    return attrs.evolve(entry, model=model, url=entry.url and entry.url.replace("*", text))


def find(name: str) -> WeightsEntry:
    """The entry called `name`. Raises `UnknownNameError` with the closest names."""
    registered = registry.weights.entries()
    if name not in registered:
        model = name.split("-")[0]
        related = [entry.name for entry in entries(model)]
        kind, choices = (f"{model} weights", related) if related else ("weights", list(registered))
        raise UnknownNameError(kind, name, choices, names=registered, hint=registry.where_else(name))
    return registered[name].value


def choose(
    model: str,
    *,
    kind: Kind = "pose",
    skeleton: Skeleton | None = None,
    **conditions: Any,  # Any: values of fields
) -> WeightsEntry:
    """The entry to take for `model`: among those that meet the conditions, the default, else the first.

    A condition is the value of a field, such as `num_joints`, `input_size` (height, width) or `codec`; None is met by
    every entry. `head` is compared by name, so pass None for the backbone's default. Without `skeleton`, entries have
    the joints of the default for their number of joints, so no animal is taken for a person. Without `num_joints`,
    entries with 17 joints come first, then those with 16. Raises `WeightsError` if nothing fits, or if several
    entries fit equally and none is the default.
    """
    candidates = entries(model, kind)
    if not candidates:
        advice = "pass weights=PATH, or weights=None to leave it as initialised"
        raise WeightsError(f"{model} has no published {kind} weights; {advice}")
    wanted = {name: value for name, value in conditions.items() if value is not None}
    if "input_size" in wanted:
        wanted["input_size"] = tuple(wanted["input_size"])
    usual = {entry.num_joints: entry.skeleton.name for entry in reversed(candidates)}
    usual |= {entry.num_joints: entry.skeleton.name for entry in candidates if entry.default}
    fitting = [
        entry
        for entry in candidates
        if (usual[entry.num_joints] == entry.skeleton.name if skeleton is None else _alike(entry.skeleton, skeleton))
        and all(getattr(entry, name) == wanted[name] for name in wanted)
    ]
    if not fitting:
        wanted |= {} if skeleton is None else {"skeleton": skeleton.name}
        asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        there = ", ".join(_describe(entry) for entry in candidates)
        raise WeightsError(f"no {kind} weights of {model} fit {asked}; pass weights=PATH or one of: {there}")
    numbers = {entry.num_joints for entry in fitting}
    first = next((number for number in (17, 16) if number in numbers), fitting[0].num_joints)
    alike = [entry for entry in fitting if entry.num_joints == first]
    chosen = next((entry for entry in alike if entry.default), alike[0])
    same = [entry for entry in alike if _kind_of(entry) == _kind_of(chosen)]
    if (first not in (16, 17) and len(numbers) > 1) or (not chosen.default and len(same) > 1):
        there = ", ".join(entry.name for entry in (fitting if len(numbers) > 1 else same))
        raise WeightsError(f"several weights of {model} fit; name one of them as weights: {there}")
    return chosen


def _alike(one: Skeleton, other: Skeleton) -> bool:
    return one.keypoint_names == other.keypoint_names


def _kind_of(entry: WeightsEntry) -> tuple[object, ...]:
    return entry.skeleton.name, entry.input_size, entry.codec, entry.head


def select(
    model: str,
    weights: FilePath | None,
    *,
    kind: Kind = "pose",
    **conditions: Any,  # Any: values of fields
) -> WeightsEntry | Path | None:
    """What a `weights` argument for `model` stands for: an entry, a file, or None for None.

    "auto" is the entry that `choose` takes under `conditions`. Otherwise the argument is a path, the name of an entry,
    or an address of the Hub (`hf-hub:owner/name[@revision]`), whose file is fetched. A backbone may also start from the
    entry of a pose model. Raises `WeightsError` for a missing file or an entry of another model or kind,
    `UnknownNameError` for an unknown name, and as `hub.fetch`.
    """
    if weights is None:
        return None
    if weights == "auto":
        return choose(model, kind=kind, **conditions)
    if hub.is_address(weights):
        return hub.fetch(weights)
    path, name = Path(weights).expanduser(), os.fspath(weights)
    if path.is_file():
        return path
    registered = name in registry.weights.entries()
    if path.is_dir() and not registered:
        return _in_folder(path)
    path_like = not isinstance(weights, str) or os.path.basename(name) != name or name.lower().endswith(_SUFFIXES)
    if path_like and not registered:
        raise WeightsError(f"there is no weights file {path}; check the path, or take a name that `hrkit models` lists")
    entry, more = find(name), f"`hrkit models {model}` lists more"
    if entry.model != model:
        raise WeightsError(f"weights {name!r} are of {entry.model}, not of {model}; {more}")
    if entry.kind != kind and (kind, entry.kind) != ("backbone", "pose"):
        advice = "pass them as backbone_weights" if (kind, entry.kind) == ("pose", "backbone") else more
        raise WeightsError(f"{name!r} are {entry.kind} weights, not {kind} weights; {advice}")
    return entry


def _in_folder(folder: Path) -> Path:
    """The weights in the folder of a training run, or in a folder that `hrkit publish` wrote."""
    for name in _IN_FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(f"{folder} is a folder without {', '.join(_IN_FOLDERS)}; name a file of weights")


def resolve(model: str, weights: FilePath | None, *, kind: Kind = "pose") -> Path | None:
    """The file that a `weights` argument for `model` stands for, fetched if it is not there; None stays None.

    Raises as `select`, and `DownloadError` as `fetch` does.
    """
    selected = select(model, weights, kind=kind)
    return None if selected is None else fetch(selected)


def cache_path(entry: WeightsEntry) -> Path:
    """The path of an entry's file: in its plugin, or in the cache, downloaded or not."""
    of_hub = hub.cached(entry.url) if hub.is_address(entry.url) else None
    return entry.file or of_hub or cache_dir() / entry.file_name


def is_cached(entry: WeightsEntry) -> bool:
    """Whether the file is there, with the published size if that is known; `fetch` checks its content."""
    path = cache_path(entry)
    return path.is_file() and entry.size in (None, path.stat().st_size)


def fetch(entry: WeightsEntry | Path, progress: bool = True) -> Path:
    """The file of an entry: from its plugin, else from the cache, else downloaded into the cache and checked.

    A file stands for itself. `progress` shows a bar on stderr. Raises `WeightsError` if a plugin's file is missing,
    `DownloadError` if the file cannot be fetched or is not the published one.
    """
    if isinstance(entry, Path):
        return entry
    if hub.is_address(entry.url):
        return hub.fetch(entry.url, progress=progress)
    path = cache_path(entry)
    if entry.url is not None and entry.file is None:
        return downloads.download(entry.url, path, checksum=entry.checksum, size=entry.size, progress=progress)
    if not path.is_file():
        raise WeightsError(f"weights {entry.name!r}: the plugin's file {path} is missing; install the plugin again")
    return path


def _describe(entry: WeightsEntry) -> str:
    if entry.kind != "pose" or entry.input_size is None:
        return entry.name
    height, width = entry.input_size
    head = f", head {entry.head}" if entry.head else ""
    return f"{entry.name} ({entry.num_joints} joints, {height}x{width}, {entry.codec}{head})"
