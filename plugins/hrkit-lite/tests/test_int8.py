"""`precision="int8"`: the shipped networks fitted to hrkit's own photos."""

from __future__ import annotations

import importlib.util
import logging
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from hrkit import Pipeline
from hrkit.errors import HrkitError
from hrkit.evaluation.pck import person_oks
from hrkit.runtimes import calibration, exported
from hrkit.testing.scenes import PHOTO, PHOTO_PEOPLE, photo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed"),
]

INSTRUCTIONS = {"avx512_vnni", "avx_vnni", "amx_int8"}
"""Without them the CPU adds pairs of products in 16 bits, which overflow."""


@pytest.fixture(autouse=True)
def fewer_crops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, count in (("FITTED", 22), ("HELD_OUT", 11)):
        monkeypatch.setattr(calibration, name, count)
    monkeypatch.setattr(exported, "FITTED", 22)
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))


@pytest.mark.skipif(
    not any(getattr(torch.cpu, "get_capabilities", dict)().get(name) for name in INSTRUCTIONS),
    reason="this CPU has no instructions for int8",
)
def test_people_are_where_float32_finds_them(
    registered: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fast = Pipeline.from_names("lite", "lite_person", device="cpu", precision="int8")
    exact = Pipeline.from_names("lite", "lite_person", device="cpu", precision="float32", runtime="eager")
    found, wanted = fast(PHOTO), exact(PHOTO)
    assert len(found) == len(wanted) == 2
    logging.getLogger("hrkit").warning("this is heard")  # NNCF would set the level of the program's handlers
    assert "this is heard" in caplog.text
    np.testing.assert_allclose(found.detections.xyxy, wanted.detections.xyxy, atol=25)
    again, before = fast.predict(photo(), PHOTO_PEOPLE), exact.predict(photo(), PHOTO_PEOPLE)
    area = np.prod(PHOTO_PEOPLE[:, 2:] - PHOTO_PEOPLE[:, :2], axis=1)
    oks = person_oks(again.keypoints, before.keypoints, np.ones((2, 17)), area, before.skeleton.sigmas)
    assert oks.min() > 0.9
    monkeypatch.setattr(exported, "to_int8", None)  # the second time it comes from the cache
    kept = Pipeline.from_names("lite", "lite_person", device="cpu", precision="int8")
    np.testing.assert_array_equal(kept(PHOTO).keypoints, found.keypoints)


@pytest.mark.slow
def test_what_int8_changes_too_much_is_refused(registered: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "INT8_ERROR", math.nextafter(0, 1))
    with pytest.raises(HrkitError, match=r"int8 changes what this network gives by .* hrkit export --int8 DATASET"):
        Pipeline.from_names("lite", device="cpu", precision="int8")
    assert not list(Path(exported.converted.folder()).glob("*.openvino"))
