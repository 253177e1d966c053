"""Networks by their names on the Hub, from one on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import LABELS, detection_network, files_of, pose_network

from hrkit import Pipeline, create_detector, create_pose_model
from hrkit.errors import DownloadError, HrkitError, UnknownNameError, WeightsError
from hrkit.ops import batched_nms
from hrkit.testing.scenes import awkward, photo

IMAGES = torch.from_numpy(np.random.RandomState(7).randn(2, 3, 256, 192).astype(np.float32))


@pytest.fixture(scope="module")
def detection_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return files_of(detection_network(), tmp_path_factory.mktemp("detector"))


@pytest.fixture
def detector(hub: Any, detection_files: dict[str, bytes]) -> str:
    """The name of a detector on the Hub."""
    hub.repositories["owner/detector"] = {"main": dict(detection_files)}
    return "hf/owner/detector"


@pytest.mark.slow
@pytest.mark.parametrize(("simple", "experts"), [(True, 1), (False, 6)])
def test_a_pose_network(hub: Any, tmp_path: Path, simple: bool, experts: int) -> None:
    network = pose_network(simple, experts)
    hub.repositories["owner/pose"] = {"main": files_of(network, tmp_path)}
    for dataset_index in {0, experts - 1}:
        options = {"dataset_index": dataset_index}
        model = create_pose_model("hf/owner/pose", weights="auto", backbone_options=options)
        assert (model.spec.codec, model.spec.head) == ("vitpose", "vitpose_simple" if simple else "vitpose_classic")
        with torch.inference_mode():
            index = torch.full((2,), dataset_index) if experts > 1 else None
            official = network(IMAGES, dataset_index=index).heatmaps
            assert (model(IMAGES) - official).norm() <= 1e-6 * official.norm()
    with pytest.raises(HrkitError, match=f"dataset_index={experts}; experts are numbered from 0 to {experts - 1}"):
        create_pose_model("hf/owner/pose", backbone_options={"dataset_index": experts})


@pytest.mark.slow
def test_a_pipeline_of_both(hub: Any, detector: str, tmp_path: Path) -> None:
    hub.repositories["owner/pose"] = {"main": files_of(pose_network(), tmp_path)}
    pipeline = Pipeline.from_names("hf/owner/pose", detector, detection_threshold=0.0, flip_test=True)
    poses = pipeline(photo())
    assert len(poses) > 0
    assert poses.skeleton.name == "coco17"
    assert np.isfinite(poses.keypoints).all()


@pytest.mark.slow
def test_it_is_no_pose_network_and_no_detector(hub: Any, detector: str, tmp_path: Path) -> None:
    hub.repositories["owner/pose"] = {"main": files_of(pose_network(), tmp_path)}
    with pytest.raises(HrkitError, match="hf/owner/detector is a network of type rt_detr, not a ViTPose"):
        create_pose_model(detector)
    with pytest.raises(HrkitError, match="hf/owner/pose cannot be used as a detector") as caught:
        create_detector("hf/owner/pose")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_detector_finds_what_transformers_finds(detector: str) -> None:
    found = create_detector(detector, threshold=0.2, classes=None)
    network, frame = detection_network(), photo()
    network.load_state_dict(found.network.state_dict())
    inputs = found.processor(images=np.ascontiguousarray(frame[:, :, ::-1]), return_tensors="pt")
    with torch.inference_mode():
        outputs = network(**inputs)
    (official,) = found.processor.post_process_object_detection(
        outputs, threshold=0.2, target_sizes=[frame.shape[:2]]
    )
    (ours,) = found.detect([frame])
    boxes = official["boxes"].numpy().clip(0, [frame.shape[1], frame.shape[0]] * 2)
    whole = (boxes[:, 2:] > boxes[:, :2]).all(1)
    assert 0 < len(ours) == whole.sum()
    np.testing.assert_allclose(ours.xyxy, boxes[whole], atol=1e-3)
    np.testing.assert_allclose(ours.scores, official["scores"].numpy()[whole], atol=1e-6)
    names = [LABELS[label] for label in official["labels"].numpy()[whole]]
    assert [found.class_names[index] for index in ours.class_ids] == names


@pytest.mark.slow
def test_the_person_is_found_by_its_name(detector: str) -> None:
    found = create_detector(detector, threshold=0.0)
    assert found.class_names == ("Person", "N/A", "bicycle", "car")
    assert set(found.detect([photo()])[0].class_ids) == {0}
    everything = create_detector(detector, threshold=0.0, classes=None).detect([photo()])[0]
    (people,) = found.detect([photo()])
    np.testing.assert_array_equal(people.xyxy, everything[everything.class_ids == 0].xyxy)
    cars = create_detector(detector, threshold=0.0, classes=["CAR", 2])
    assert set(cars.class_ids) == {3, 2}
    with pytest.raises(UnknownNameError, match="dog"):
        create_detector(detector, classes="dog")


@pytest.mark.slow
def test_settings(detector: str) -> None:
    frames = [photo(), *awkward().values(), photo()]
    found = create_detector(detector, threshold=0.0, classes=None, max_batch_size=2).detect(frames)
    assert [len(one) > 0 for one in found][:: len(frames) - 1] == [True, True]
    np.testing.assert_allclose(found[0].xyxy, found[-1].xyxy, atol=1e-3)
    fewer = create_detector(detector, threshold=0.0, classes=None, nms_threshold=0.0).detect(frames[:1])[0]
    kept = batched_nms(found[0].xyxy, found[0].scores, found[0].class_ids, 0.0)
    np.testing.assert_allclose(fewer.xyxy, found[0].xyxy[kept], atol=1e-3)
    for option in ({"threshold": 2}, {"nms_threshold": -1}, {"max_batch_size": 0}):
        with pytest.raises(HrkitError, match=next(iter(option))):
            create_detector(detector, **option)


@pytest.mark.slow
def test_a_copy_on_this_machine_needs_no_hub(
    hub: Any, detection_files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in detection_files.items():
        (tmp_path / name).write_bytes(content)
    detector = create_detector("hf/my/own", weights=tmp_path / "model.safetensors", threshold=0.0)
    assert len(detector.detect([photo()])[0]) > 0
    assert hub.asked == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"config.json": None}, DownloadError, "has no config.json"),
        ({"preprocessor_config.json": None}, DownloadError, "has no preprocessor_config.json"),
        ({"model.safetensors": None, "pytorch_model.bin": b""}, DownloadError, "pickles are not read"),
        ({"config.json": b"{"}, HrkitError, "config.json is of no use"),
        ({"config.json": b'{"model_type": "nothing"}'}, HrkitError, "config.json is of no use"),
        ({"config.json": b"[]"}, HrkitError, "config.json is of no use"),
        ({"preprocessor_config.json": b"{}"}, HrkitError, "cannot be used as a detector"),
        ({"model.safetensors": b"damaged"}, WeightsError, "damaged, or no safetensors file"),
    ],
)
def test_repositories_that_are_of_no_use(
    hub: Any, detector: str, changed: dict[str, bytes | None], error: type[Exception], words: str
) -> None:
    files = hub.repositories["owner/detector"]["main"] | changed
    hub.repositories["owner/detector"] = {"main": {name: file for name, file in files.items() if file is not None}}
    with pytest.raises(error, match=words) as caught:
        create_detector(detector)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["model_type", "config.json", "preprocessor_config.json"])
def test_code_of_a_repository_is_not_run(hub: Any, detector: str, tmp_path: Path, kind: str) -> None:
    files = hub.repositories["owner/detector"]["main"]
    evil = tmp_path / "evil"
    files["evil.py"] = f"open({str(evil)!r}, 'w')\nclass Evil: pass\n".encode()
    name = kind if kind.endswith(".json") else "config.json"
    parts = ("AutoConfig", "AutoModelForObjectDetection", "AutoImageProcessor")
    content = json.loads(files[name]) | {"auto_map": dict.fromkeys(parts, "evil.Evil")}
    if kind == "model_type":
        files[name] = json.dumps(content | {"model_type": "evil"}).encode()
        with pytest.raises(HrkitError, match=r"config\.json is of no use"):
            create_detector(detector)
    else:
        files[name] = json.dumps(content).encode()
        create_detector(detector)  # transformers itself has the network
    assert not evil.exists()


@pytest.mark.slow
def test_weights_of_another_network(hub: Any, detector: str, tmp_path: Path) -> None:
    files = hub.repositories["owner/detector"]["main"]
    content = json.loads(files["config.json"]) | {"id2label": {"0": "person"}, "label2id": {"person": 0}}
    files["config.json"] = json.dumps(content).encode()
    with pytest.raises(WeightsError, match="does not fit RTDetrForObjectDetection"):
        create_detector(detector)
    network = detection_network()
    network.model.encoder = torch.nn.Identity()
    hub.repositories["owner/detector"]["main"] = files_of(network, tmp_path / "made")
    with pytest.raises(WeightsError, match=r"does not fit .* is missing or not part of it \(\d+ names"):
        create_detector(detector)
