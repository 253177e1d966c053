"""`lite_person`: YOLOv3-tiny's person class as int8."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from hrkit_lite.person_detector import dequantise, lite_person, quantise
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hrkit.detectors.yolov3 import Yolov3, yolov3_tiny
from hrkit.errors import HrkitError, WeightsError
from hrkit.pipeline import create_detector

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_small_and_complete(registered: ModuleType) -> None:
    file = registered.FOLDER / "lite_person.safetensors"
    assert file.stat().st_size <= 10_000_000
    stored = safetensors.torch.load_file(file)
    for name, values in stored.items():
        if values.ndim == 4:
            assert values.dtype == torch.int8
            assert stored[f"{name}_scale"].shape == (len(values),)


def test_it_is_built_by_name(registered: ModuleType) -> None:
    detector = create_detector("lite_person", threshold=0.3, nms_threshold=None)
    assert isinstance(detector, Yolov3)
    assert detector.network.num_classes == 1
    assert (detector.threshold, detector.nms_threshold, detector.class_names) == (0.3, 0.45, ("person",))
    found = detector.detect([np.full((48, 64, 3), 128, np.uint8)])[0]
    assert len(found) == 0
    entry = create_detector("lite_person", weights="lite_person")
    assert isinstance(entry, Yolov3)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(entry.network(images), detector.network(images))
    with pytest.raises(HrkitError, match="unknown class 'dog'"):
        create_detector("lite_person", weights=None, classes=["dog"])


@pytest.mark.needs_shared
def test_it_sees_both_players(registered: ModuleType, shared: Path) -> None:
    frame = cv2.imread(str(shared / "media" / "basketball.jpg"))
    found = create_detector("lite_person").detect([frame])[0]
    assert len(found) == 2
    np.testing.assert_allclose(found.scores, [0.918, 0.300], atol=0.05)
    np.testing.assert_allclose(found.xyxy, [[37, 79, 175, 476], [481, 38, 639, 440]], atol=12)


@pytest.mark.needs_shared
def test_it_finds_as_many_people_as_the_network_it_comes_from(registered: ModuleType, shared: Path) -> None:
    measure = tool("measure_person_recall").person_recall
    data = shared / "data" / "coco_val"
    where = (data / "images", data / "person_keypoints_val.json")
    whole, _ = measure(yolov3_tiny(weights=shared / "weights" / "yolov3-tiny.weights"), *where)
    lite, _ = measure(create_detector("lite_person"), *where)
    assert whole > 0.45
    assert lite >= whole - 0.005


@pytest.mark.slow
@pytest.mark.needs_shared
def test_the_file_can_be_made_again(registered: ModuleType, shared: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    command = [sys.executable, TOOLS / "cut_person_detector.py", shared / "weights" / "yolov3-tiny.weights", again]
    environment = {"PYTHONPATH": ":".join([str(TOOLS.parent), *sys.path])}
    subprocess.run([str(part) for part in command], check=True, env=environment)
    ours = safetensors.torch.load_file(registered.FOLDER / "lite_person.safetensors")
    made = safetensors.torch.load_file(again)
    assert made.keys() == ours.keys()
    for name, values in made.items():
        step = 1.0 if values.dtype == torch.int8 else 1e-5  # folding batch norm may round differently elsewhere
        torch.testing.assert_close(values.float(), ours[name].float(), atol=step, rtol=1e-4)


@pytest.mark.needs_shared
def test_the_cut_network_is_the_person_column(registered: ModuleType, shared: Path) -> None:
    weights = shared / "weights" / "yolov3-tiny.weights"
    whole, cut = yolov3_tiny(weights=weights), lite_person(weights=None)
    cut.network.load_state_dict(tool("cut_person_detector").person_state(weights))
    images = torch.rand(1, 3, 96, 64)
    with torch.inference_mode():
        wanted = whole.network(images)[..., :6]
        torch.testing.assert_close(cut.network(images), wanted, rtol=1e-3, atol=1e-3)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 4), elements=st.floats(-10, 10, width=32)))
def test_rounding_is_within_half_a_step_or_clipped(weights: np.ndarray) -> None:
    original = torch.from_numpy(weights)
    stored = quantise({"weight": original, "bias": original[:, 0, 0, 0]})
    assert stored["weight"].dtype == torch.int8
    restored = dequantise(stored)
    assert restored.keys() == {"weight", "bias"}
    assert torch.equal(restored["bias"], original[:, 0, 0, 0])
    scale = stored["weight_scale"].reshape(-1, 1, 1, 1)
    error = (restored["weight"] - original).abs()
    clipped = stored["weight"].abs() == 127
    assert ((error <= scale * 0.5001 + 1e-9) | clipped).all()
    assert ((original == 0) <= (restored["weight"] == 0)).all()
    plain = original.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12) / 127
    naive = ((original / plain).round() * plain - original).square().sum()
    assert error.square().sum() <= naive * 1.001 + 1e-9


@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_a_file_that_does_not_fit(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.safetensors"
    if content is None:
        safetensors.torch.save_file({"weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="does not fit lite_person") as caught:
        lite_person(weights=path)
    assert "\n" not in str(caught.value)
