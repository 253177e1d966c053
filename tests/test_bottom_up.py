"""A network that finds everybody at once goes through the same door as one that is given boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hrkit import Pipeline, create_pose_model, hookimpl
from hrkit.benchmark.inference import Pair, part_work
from hrkit.cli import main
from hrkit.errors import BoxError, HrkitError, PluginError
from hrkit.evaluation.coco import evaluate
from hrkit.images import write_image
from hrkit.pose_model import BottomUpModel
from hrkit.registry import plugins
from hrkit.structures import Detections, Poses
from hrkit.synthetic import SyntheticHead, paint_people
from hrkit.tracking.follower import Follower

FRAME = (240, 320)


class LeftAndRight(BottomUpModel):
    """Looks for one painted person in the left and one in the right half of a frame."""

    def find_poses(
        self, frames: Sequence[np.ndarray], *, flip_test: bool = False, return_heatmaps: bool = False
    ) -> list[Poses]:
        return [self._find(frame, return_heatmaps) for frame in frames]

    def _find(self, frame: np.ndarray, return_heatmaps: bool) -> Poses:
        maps = self(self.normalise(torch.from_numpy(frame)[None])).float().numpy()[0]
        middle = maps.shape[2] // 2
        keypoints, scores = [], []
        for left in (0, middle):
            half = maps[:, :, left : left + middle].reshape(len(maps), -1)
            if half.max() > 0:
                y, x = np.divmod(half.argmax(1), middle)
                keypoints.append(4.0 * np.stack([x + left, y], axis=1))
                scores.append(half.max(1))
        points = np.reshape(keypoints, (-1, len(maps), 2))
        boxes = np.concatenate([points.min(1), points.max(1)], axis=1) if len(points) else np.zeros((0, 4))
        found = Detections(boxes, 0.9 - 0.1 * np.arange(len(points)), np.zeros(len(points)))
        heatmaps = np.zeros((len(points), len(maps), 64, 48)) if return_heatmaps else None
        return Poses(points, np.reshape(scores, (-1, len(maps))), found, self.skeleton, heatmaps=heatmaps)


class BottomUpHead(SyntheticHead):
    pose_model = LeftAndRight


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    plugins.register(SimpleNamespace(register_heads=hookimpl(lambda: {"left_and_right": BottomUpHead})), "halves")
    yield
    plugins.unregister("halves")


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.from_names("synthetic", weights=None, head="left_and_right", device="cpu")


def people(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform((30, 40), (130, 200), (2, 17, 2)) + [[[0, 0]], [[160, 0]]]


@pytest.mark.slow
def test_everybody_is_found(pipeline: Pipeline) -> None:
    frames = [paint_people(FRAME, people(seed)) for seed in (0, 1)] + [np.zeros((*FRAME, 3), np.uint8)]
    found = pipeline.predict_batch(frames)
    assert [len(poses) for poses in found] == [2, 2, 0]
    for poses, truth in zip(found, (people(0), people(1)), strict=False):
        seen = poses.keypoint_scores > 0.9
        assert seen.mean() > 0.5  # others are painted over
        assert np.abs(poses.keypoints - truth).max(2)[seen].max() <= 3
    assert [len(poses) for poses in pipeline.stream(frames, batch_size=2)] == [2, 2, 0]
    assert pipeline.detect(frames)[0].xyxy.tolist() == found[0].detections.xyxy.tolist()
    assert pipeline.predict(frames[0], return_heatmaps=True).heatmaps.shape == (2, 17, 64, 48)
    assert "everybody at once -> synthetic" in repr(pipeline)


def test_what_is_made_fast_keeps_its_methods(pipeline: Pipeline) -> None:
    model = pipeline.pose_model
    assert isinstance(model, LeftAndRight)
    assert model.prepared() is model
    with pytest.raises(HrkitError, match="made fast"):
        model.save("model.safetensors")


def test_boxes_detectors_and_decoders_are_refused(pipeline: Pipeline) -> None:
    frame = np.zeros((*FRAME, 3), np.uint8)
    with pytest.raises(BoxError, match="synthetic with 17 joints finds people by itself; it takes no boxes"):
        pipeline.predict(frame, boxes=[[0, 0, 10, 10]])
    options = {"weights": None, "head": "left_and_right", "device": "cpu"}
    with pytest.raises(HrkitError, match="finds people by itself; leave the detector out"):
        Pipeline.from_names("synthetic", "yolov3", **options)  # before it is fetched
    with pytest.raises(HrkitError, match="leave the detector out"):
        Pipeline(create_pose_model("synthetic", head="left_and_right"), object())  # type: ignore[arg-type]
    with pytest.raises(HrkitError, match="leave the decoder out"):
        Pipeline.from_names("synthetic", decoder="dark", **options)


def test_it_is_not_taken_for_a_network_of_crops(pipeline: Pipeline, painted_coco: Path) -> None:
    from hrkit.datasets.coco import coco
    from hrkit.evaluation.predictions import predict_dataset

    with pytest.raises(HrkitError, match="sees whole pictures, not people one by one"):
        predict_dataset(create_pose_model("synthetic", head="left_and_right"), coco(painted_coco), workers=0)
    with pytest.raises(HrkitError, match="sees whole pictures"):
        pipeline.pose_model.crops([], pipeline.codec)


def test_a_detector_is_found_where_one_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hrkit.pipeline.DEFAULT_DETECTOR", "synthetic")
    options = {"weights": None, "detector_weights": None, "device": "cpu"}
    assert Pipeline.from_names("synthetic", "auto", **options).detector is not None
    assert Pipeline.from_names("synthetic", "auto", head="left_and_right", **options).detector is None


def test_one_that_breaks_the_contract_is_named(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LeftAndRight, "find_poses", lambda *args, **options: [])
    with pytest.raises(PluginError, match=r"LeftAndRight.find_poses must give one Poses for each of 1 frames"):
        pipeline.predict(np.zeros((*FRAME, 3), np.uint8))


def test_people_are_followed(pipeline: Pipeline) -> None:
    follower = Follower(pipeline, detect_every=5, max_people=1)
    assert follower.detect_every == 1
    frames = [SimpleNamespace(image=paint_people(FRAME, people()), time=i / 30, index=i) for i in range(4)]
    found = [poses for start in (0, 2) for poses in follower.step(frames[start : start + 2])]
    assert [len(poses) for poses in found] == [1] * 4
    assert {poses.track_ids.tolist()[0] for poses in found[1:]} == {1}


@pytest.mark.slow
def test_it_is_evaluated_on_whole_pictures(painted_coco: Path) -> None:
    from hrkit.datasets.coco import coco

    dataset = coco(painted_coco)
    model = create_pose_model("synthetic", head="left_and_right")
    evaluation = evaluate(model, dataset, batch_size=4, progress=False)
    assert len(evaluation.boxed) == len(evaluation.results) == len(evaluation.predictions.keypoints)
    assert evaluation.boxed.scores.max() == pytest.approx(0.9)
    assert [row["score"] for row in evaluation.results] == pytest.approx(evaluation.boxed.scores.tolist())
    assert evaluation.metrics["AP"] > 0.1
    assert evaluation.predictions.network_seconds > 0
    with pytest.raises(HrkitError, match="leave the decoder out"):
        evaluate(model, dataset, decoder="dark")


def test_its_parts_are_measured(pipeline: Pipeline) -> None:
    frame = paint_people((64, 96), np.random.default_rng(0).uniform(5, 40, (1, 17, 2)))
    work = part_work(pipeline, [(frame, Detections.from_boxes([[0, 0, 48, 64]]))])
    assert set(work) == {"pose network", "drawing", "end to end"}
    for piece in work.values():
        piece()
    assert str(Pair("synthetic", None, None)) == "synthetic"
    assert str(Pair("synthetic", (64, 96), "synthetic")) == "synthetic 64x96 + synthetic"


@pytest.mark.slow
def test_commands(painted_coco: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "people.png", paint_people(FRAME, people()))
    network = ["--backbone", "synthetic", "--weights", "none", "--device", "cpu"]
    plugins.register(SimpleNamespace(register_backbones=hookimpl(lambda: {"painted": _painted})), "painted")
    try:
        network[1] = "painted"
        runner = CliRunner()
        shown = runner.invoke(
            main, ["demo", "--image", str(tmp_path / "people.png"), "--output", str(tmp_path), "--heatmaps", *network]
        )
        assert "people.png: 2 people" in shown.output, shown.output
        test = ["test", *network, "--dataset", f"coco:{painted_coco}", "--workers", "0"]
        tested = runner.invoke(main, [*test, "--output", str(tmp_path / "report")])
        assert tested.exit_code == 0, tested.output
        content = json.loads((tmp_path / "report" / "report.json").read_text())
        assert content["boxes"] == "own"
        assert content["nms"] == "none"
        refused = runner.invoke(main, [*test, "--boxes", "synthetic", "--output", str(tmp_path / "refused")])
        assert refused.exit_code == 2
        assert "leave --boxes out" in refused.output
    finally:
        plugins.unregister("painted")


def _painted() -> torch.nn.Module:
    from hrkit.synthetic import SyntheticBackbone

    backbone = SyntheticBackbone()
    backbone.default_head = "left_and_right"
    return backbone
