"""Where annotations and pictures are: in COCO's own folders, or in those of CVAT, Label Studio, Roboflow and MMPose."""

from __future__ import annotations

import functools
import glob
import os
import re
import urllib.parse
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hrkit.datasets.records import shown
from hrkit.errors import DatasetError
from hrkit.files import FilePath, leads_out

_SAMPLE = 20  # pictures that are looked for in each folder before one is chosen


def find_annotations(path: Path, split: str) -> Path:
    """The json of a dataset: the path itself if it is a file, COCO's official one, or one that looks like it.

    Of several, the one with the split in its name or folder is taken. Raises `DatasetError` if that leaves none or
    several.
    """
    official = path / "annotations" / f"person_keypoints_{split}.json"
    if path.suffix == ".json" and not os.path.exists(path):
        raise DatasetError(f"{path}: no such file")
    if path.suffix in (".yaml", ".yml") or os.path.exists(path / "data.yaml"):
        raise DatasetError(f"{path}: labels of YOLO are not read; export them as COCO json, see docs/training.md")
    for file in (path, official):
        if os.path.isfile(file):  # False for names that no file can have
            return file
    words = _words(split)
    places = [path, path / "annotations", *(path / word for word in words), *(path / w / "annotations" for w in words)]
    jsons = (glob.glob(os.path.join(glob.escape(str(place)), "*.json")) for place in places)
    names = sorted({Path(file) for files in jsons for file in files})
    named = [file for file in names if file.name.startswith("person_keypoints_")]
    for files in (named, [file for file in names if _holds_keypoints(file)]):
        found = [file for file in files if words & _parts(file.relative_to(path))] or files
        if len(found) > 1:
            several = ", ".join(str(file.relative_to(path)) for file in found)
            raise DatasetError(f"{path}: several annotation files ({several}); name one")
        if found:
            return found[0]
    raise DatasetError(f"{path}: no COCO json there; wanted {official}, or one json with images and keypoints")


def _words(split: str) -> set[str]:
    """A split and what folders call it: "val2017" is also "val", "valid" and "validation"."""
    part = split.rstrip("0123456789")
    return {split, part, "valid", "validation"} if part == "val" else {split, part}


def _parts(path: Path) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", str(path).lower()))


def _holds_keypoints(file: Path) -> bool:
    content = file.read_bytes()
    return b'"annotations"' in content and b'"keypoints"' in content


def find_pictures(names: Sequence[str], file: Path, split: str, images: FilePath | None) -> tuple[Path, dict[str, str]]:
    """The folder or zip with the pictures of a json, and the path of each name that is in it.

    `images` is a folder or a zip; by default the first of the usual places beside `file` that has the pictures.
    Backslashes, url-encoded characters, folders in front of a name, and upper or lower case may differ. Raises
    `DatasetError` if there is no such place.
    """
    places = [Path(images)] if images is not None else _usual_places(file, split)
    there = [place for place in places if os.path.exists(place)]
    if not there:
        raise DatasetError(f"{places[0]}: no such folder or zip of pictures")
    sample = names[:_SAMPLE]
    counts = {place: len(_found(sample, place)) for place in there}
    if images is None and not any(counts.values()):
        others = {place: len(_found(sample, place)) for place in _folders_beside(file)}
        best = [place for place, count in others.items() if count and count == max(others.values())]
        if len(best) > 1:
            raise DatasetError(f"{file}: its pictures are in {best[0]} and in {best[1]}; name one with --images")
        counts |= {place: others[place] for place in best}
    place = max(counts, key=lambda place: counts[place])  # the first of equals
    return place, _found(names, place)


def check_found(names: Collection[str], found: Collection[str], place: Path, file: Path) -> None:
    """Raises `DatasetError` unless all names of pictures in `file` are found in `place`."""
    missing = [name for name in names if name not in found]
    outside = [name for name in missing if leads_out(place, name)]
    if outside:
        raise DatasetError(
            f"{file}: {len(outside)} of {len(names)} pictures are not in {place}, first {outside[0]!r}; to read them, "
            "name a folder that holds them as images"
        )
    if missing:
        raise DatasetError(
            f"{file}: {len(missing)} of {len(names)} pictures are missing, first {shown(missing[0])}, in {place}; name "
            "their folder with --images, or leave them out with --skip-bad"
        )


def _root(file: Path) -> Path:
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _folders_beside(file: Path) -> list[Path]:
    parents = (_root(file), _root(file) / "images")
    return sorted(folder for parent in parents for folder in parent.glob("*") if folder.is_dir())


def _usual_places(file: Path, split: str) -> list[Path]:
    """The folders and zip files where annotation tools put the pictures of a json, in the order to look there."""
    root = _root(file)
    subset = file.stem.rpartition("_")[2]  # CVAT: person_keypoints_default.json and images/default
    folders = [root / "images" / split, root / split, root / "images" / subset, root / subset]
    folders += [folder for word in sorted(_words(split)) for folder in (root / "images" / word, root / word)]
    folders += [root / "images", root, file.parent]
    with_zips = [place for folder in folders for place in (folder, folder.parent / f"{folder.name}.zip")]
    return list(dict.fromkeys(with_zips))


def _found(names: Iterable[str], place: Path) -> dict[str, str]:
    """The path of each name that is in a folder or zip. A file stands for one name."""
    look = _looker(place)
    found: dict[str, str] = {}
    for name in names:
        path = next((path for form in _forms(name) if (path := look(form))), None)
        if path is not None:
            found[name] = path
    owners: Mapping[str, str] = {path: name for name, path in reversed(found.items())}
    return {name: path for name, path in found.items() if owners[path] == name}


def _forms(name: str) -> Iterator[str]:
    """The name, then with slashes, then decoded, then with fewer and fewer folders in front."""
    yield name
    plain = urllib.parse.unquote(name).replace("\\", "/")
    yield name.replace("\\", "/")
    while plain:
        yield plain
        plain = plain.partition("/")[2]


def _looker(place: Path) -> Callable[[str], str | None]:
    """What finds a name in a folder or zip, whatever its case."""
    if place.suffix != ".zip":
        return functools.partial(_in_folder, functools.cache(_by_lower_case), place)
    try:
        with zipfile.ZipFile(place) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{place}: cannot be read as a zip ({error})") from None
    members = {name.lower(): name for name in names} | {name: name for name in names}
    return functools.partial(_in_zip, place, members)


def _in_folder(listing: Callable[[Path], Mapping[str, str]], place: Path, name: str) -> str | None:
    path = place / name
    if leads_out(place, name):
        return None
    try:
        if os.path.isfile(path):
            return str(path)
        other = listing(path.parent).get(path.name.lower())
    except (OSError, ValueError):  # a name that is too long, or that no file system knows
        return None
    return None if other is None else str(path.parent / other)


def _by_lower_case(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {entry.name.lower(): entry.name for entry in os.scandir(folder) if entry.is_file()}


def _in_zip(place: Path, members: Mapping[str, str], name: str) -> str | None:
    prefixed = [name, f"{place.stem}/{name}"]
    member = next((members[one] for one in (*prefixed, *map(str.lower, prefixed)) if one in members), None)
    return None if member is None else f"{place}@{member}"
