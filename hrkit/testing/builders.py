"""Builders of detectors and datasets: the arguments they take, and what they say about unusable files."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any  # a builder may build anything

from hrkit.errors import HrkitError, one_line
from hrkit.testing.report import Check, Contract, NotJudged, Wrong, raised
from hrkit.testing.scenes import photo

Builder = Callable[..., Any]

ONE_LINE = "raise hrkit.HrkitError, or an OSError, in one line that says what to do"


def refusal(call: Callable[[], Any], given: str) -> str | None:
    """The message of the `HrkitError` or `OSError` that `call` raises; None if it raises nothing.

    Raises `Wrong` if it raises something else, or a message of several lines.
    """
    try:
        call()
    except (HrkitError, OSError) as error:
        if len(str(error).strip().splitlines()) > 1:
            raise Wrong(f"given {given} it says more than one line: {one_line(error)[:120]}") from error
        return str(error)
    except Exception as error:
        raise Wrong(f"given {given} it {raised(error)}") from error
    return None


def _takes_settings(build: Builder) -> None:
    build(weights=None, threshold=None, nms_threshold=0.45)  # as a pipeline calls it


def _damaged_weights(build: Builder) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "damaged.pth"
        file.write_bytes(b"these are no weights")
        refusal(lambda: build(weights=file, threshold=None, nms_threshold=None), "a damaged weights file")


def _threshold(build: Builder) -> None:
    before = build(threshold=0.05).detect([photo()])[0].scores
    if not len(before) or before.max() - before.min() < 0.01:
        raise NotJudged("in the photo it finds nobody, or all with the same score")
    threshold = float(before.min() + before.max()) / 2
    after = build(threshold=threshold).detect([photo()])[0].scores
    if after.min(initial=1) < threshold - 1e-3:
        raise Wrong(f"with a threshold of {threshold:.3f} a box has score {after.min():.3f}")
    if len(after) > len(before):
        raise Wrong(f"with a threshold of 0.05 there are {len(before)} boxes, with {threshold:.3f} {len(after)}")


def _missing_path(build: Builder) -> None:
    try:
        inspect.signature(build).bind("path", split="train")
    except TypeError:
        raise NotJudged("it takes no path") from None
    except ValueError:  # it has no signature
        pass
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nothing"
        refusal(lambda: build(path, split="train"), "a path that does not exist")


DETECTOR = Contract(
    "detector",
    (
        Check(
            "builder takes weights, threshold and nms_threshold",
            _takes_settings,
            "take these three by keyword, even if unused; None is the detector's own default",
            vital=True,
        ),
        Check("damaged weights", _damaged_weights, ONE_LINE),
    ),
)
THRESHOLD = Contract("detector", (Check("threshold", _threshold, "leave out boxes with scores below the threshold"),))
DATASET = Contract("dataset", (Check("path that is not there", _missing_path, ONE_LINE),))
