"""Builders of detectors and datasets: what they take, and what they say of files that are no good."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hrkit.errors import HrkitError, one_line
from hrkit.testing.report import Check, Finding, NotJudged, Wrong, examine, raised
from hrkit.testing.scenes import photo

ONE_LINE = "raise hrkit.HrkitError, or an OSError, in one line that says what to do"


def examine_detector_builder(build: Callable[..., Any], *, part: str = "detector") -> Iterator[Finding]:
    """Whether a builder of detectors takes what it is called with, and refuses a damaged file in words."""
    yield from examine(part, build, DETECTOR_CHECKS)


def examine_dataset_builder(build: Callable[..., Any], *, part: str = "dataset") -> Iterator[Finding]:
    """Whether a builder of datasets says in words that a path is not there."""
    yield from examine(part, build, DATASET_CHECKS)


def examine_threshold(build: Callable[[float], Any], *, part: str = "detector") -> Iterator[Finding]:
    """Whether the detector that `build` makes with a threshold keeps to it."""
    yield from examine(part, build, THRESHOLD_CHECKS)


def _takes_settings(build: Callable[..., Any]) -> None:
    build(weights=None, threshold=None, nms_threshold=0.45)  # as a pipeline does


def _damaged_weights(build: Callable[..., Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "damaged.pth"
        file.write_bytes(b"these are no weights")
        refusal(lambda: build(weights=file, threshold=None, nms_threshold=None), "a damaged weights file")


def _threshold(build: Callable[[float], Any]) -> None:
    before = build(0.05).detect([photo()])[0].scores
    if not len(before) or before.max() - before.min() < 0.01:
        raise NotJudged("in the photo it finds nobody, or all with the same score")
    threshold = float(before.min() + before.max()) / 2
    after = build(threshold).detect([photo()])[0].scores
    if after.min(initial=1) < threshold - 1e-3:
        raise Wrong(f"with a threshold of {threshold:.3f} a box has score {after.min():.3f}")
    if len(after) > len(before):
        raise Wrong(f"with a threshold of 0.05 there are {len(before)} boxes, with {threshold:.3f} {len(after)}")


def _missing_path(build: Callable[..., Any]) -> None:
    if not _takes_path(build):
        raise NotJudged("it takes no path")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nothing"
        refusal(lambda: build(path, split="train"), "a path where nothing is")


def _takes_path(build: Callable[..., Any]) -> bool:
    try:
        inspect.signature(build).bind("path", split="train")
    except TypeError:
        return False
    except ValueError:  # it has no signature to look at
        pass
    return True


def refusal(call: Callable[[], Any], given: str) -> str | None:
    """What `call` says in a `HrkitError` or an `OSError` of one line; None where it raises nothing.

    Raises `Wrong` where it raises something else, or more than a line.
    """
    try:
        call()
    except (HrkitError, OSError) as error:
        if len(str(error).strip().splitlines()) > 1:
            raise Wrong(f"of {given} it says more than one line: {one_line(error)[:120]}") from error
        return str(error)
    except Exception as error:
        raise Wrong(f"given {given} it {raised(error)}") from error
    return None


DETECTOR_CHECKS: tuple[Check[Any], ...] = (
    Check(
        "builder takes weights, threshold and nms_threshold",
        _takes_settings,
        "take these three by keyword, even without a use for them; None is the detector's own",
        vital=True,
    ),
    Check("damaged weights", _damaged_weights, ONE_LINE),
)

THRESHOLD_CHECKS: tuple[Check[Any], ...] = (
    Check("threshold", _threshold, "leave out boxes whose score is below the threshold that the builder is given"),
)

DATASET_CHECKS: tuple[Check[Any], ...] = (Check("path that is not there", _missing_path, ONE_LINE),)
