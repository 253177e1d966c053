"""The network in a pipeline, from pictures to people."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hrkit_higherhrnet.grouping import Grouping
from hrkit_higherhrnet.model import grouping_order
from hrkit_higherhrnet.pictures import input_size, to_input
from hypothesis import given
from hypothesis import strategies as st

from hrkit import Pipeline, create_pose_model, geometry, hookimpl
from hrkit.errors import HrkitError
from hrkit.registry import plugins
from hrkit.skeletons import coco17
from hrkit.tracking.follower import Follower
from hrkit.video.files import VideoFrame
from seeded import seeded_tensor


@pytest.fixture(scope="module")
def model(shallow: None):
    """A small network with weights for which it finds many people."""
    network = create_pose_model("higher_hrnet_w4", input_size=(64, 64))
    network.load_state_dict({name: seeded_tensor(name, tuple(t.shape)) for name, t in network.state_dict().items()})
    return network


@pytest.fixture(scope="module")
def pipeline(model) -> Pipeline:
    return Pipeline(model, device="cpu", precision="float32")


def noise(*size: int) -> np.ndarray:
    return np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.slow
def test_poses_are_valid(pipeline: Pipeline) -> None:
    frames = [noise(90, 120), noise(120, 90), noise(90, 120)[::-1].copy(), noise(64, 64)]
    found = pipeline.predict_batch(frames)
    assert sum(map(len, found)) > 0
    for frame, poses in zip(frames, found, strict=True):
        height, width = frame.shape[:2]
        boxes = poses.detections.xyxy
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [width, height]).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 0.99).all()
        assert (np.diff(poses.detections.scores) <= 0).all()
        alone = pipeline.predict(frame)
        np.testing.assert_allclose(alone.keypoints, poses.keypoints, atol=1e-3)
    with_maps = pipeline.predict(frames[0], return_heatmaps=True)
    assert with_maps.heatmaps.shape == (len(found[0]), 17, 64, 48)
    assert [len(poses) for poses in pipeline.stream(frames)] == [len(poses) for poses in found]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 400), (400, 40), (1, 1), (2, 3000)])
def test_long_and_tiny_pictures(pipeline: Pipeline, size: tuple[int, int]) -> None:
    poses = pipeline.predict(noise(*size))
    assert np.isfinite(poses.keypoints).all()
    assert np.isfinite(poses.detections.xyxy).all()


def test_a_black_picture_and_maps_that_are_not_finite(model, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 102, images.shape[2] // 4, images.shape[3] // 4), value)

    monkeypatch.setattr(model, "forward", forward)
    for value in (0.0, float("nan"), float("inf")):  # noqa: B007
        assert len(model.find_poses([noise(50, 60)], flip_test=True)[0]) == 0


def test_people_are_found_in_their_place(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two people, all of whose joints are at one point each."""
    frame_size = (150, 200)
    places = np.array([[40.0, 50.0], [150.0, 110.0]])

    def forward(images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[2:]
        there = geometry.apply_affine(to_input(frame_size, (height, width)), places)
        if images[0, 0, 0, 0] != images[0, 0, 0, -1]:  # the mirrored pass
            raise AssertionError
        low, high = torch.zeros(1, 34, height // 4, width // 4), torch.zeros(1, 17, height // 2, width // 2)
        for person, (x, y) in enumerate(there):
            low[:, :17, int(y / 4), int(x / 4)] = 1
            low[:, 17:, int(y / 4) - 1 : int(y / 4) + 2, int(x / 4) - 1 : int(x / 4) + 2] = 5.0 * person + 1
            high[:, :, int(y / 2), int(x / 2)] = 1
        return torch.cat([low, torch.nn.functional.pixel_unshuffle(high, 2)], dim=1)

    monkeypatch.setattr(model, "forward", forward)
    (poses,) = model.find_poses([np.zeros((*frame_size, 3), np.uint8)])
    assert len(poses) == 2
    found = poses.keypoints[np.argsort(poses.keypoints[:, 0, 0])]
    cell = 2 * 150 / 64
    assert np.abs(found - places[:, None]).max() <= cell


@pytest.mark.parametrize(
    ("scales", "message"), [((0.75, 1.0), "an input of 85x170, not multiples of 32"), ((), "at least one scale")]
)
def test_invalid_scales(model, scales: tuple[float, ...], message: str) -> None:
    model.scales = scales
    try:
        with pytest.raises(HrkitError, match=message):
            model.find_poses([noise(64, 85)])
    finally:
        del model.scales


@pytest.mark.slow
def test_several_scales(model) -> None:
    frames = [noise(90, 120)]
    model.scales = (0.5, 1.0, 2.0)
    try:
        heatmaps, tags = model.maps(frames, flip_test=True)
        base = input_size((90, 120), 64, 1.0, 0.5)
        assert heatmaps.shape == (1, 17, *base)
        assert tags.shape == (2, 1, 17, *base)
        wanted = []
        for scale in model.scales:
            size = input_size((90, 120), 64, scale, 0.5)
            crop = geometry.warp_crops(frames[0], to_input((90, 120), size)[None], size)
            here, _ = model.passes(model.normalise(torch.from_numpy(crop)), flip_test=True)
            wanted.append(torch.nn.functional.interpolate(here, size=base, mode="bilinear"))
        torch.testing.assert_close(heatmaps, torch.stack(wanted).mean(0))
        assert isinstance(model.find_poses(frames, flip_test=True), list)
    finally:
        del model.scales


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([64, 512, 640]))
def test_a_picture_fits_its_input(height: int, width: int, side: int) -> None:
    size = input_size((height, width), side)
    assert min(size) == side
    assert max(size) <= 8 * side
    assert not any(one % 64 for one in size)
    corners = geometry.apply_affine(to_input((height, width), size), [[0.0, 0], [width, height]])
    slack = 1.01 * max(1, size[0] / height, size[1] / width)  # the middle is rounded to a pixel
    assert (corners[0] >= -slack).all()
    assert (corners[1] <= np.array(size[::-1]) + slack).all()


@pytest.mark.parametrize(
    ("frame", "size"), [((333, 500), (512, 768)), ((500, 333), (768, 512)), ((480, 640), (512, 704))]
)
def test_the_short_side_sets_the_scale(frame: tuple[int, int], size: tuple[int, int]) -> None:
    assert input_size(frame, 512) == size
    assert to_input(frame, size)[0, 0] == 512 / min(frame)


def test_the_order_of_the_paper() -> None:
    assert grouping_order(coco17) == [0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16]


@pytest.mark.slow
def test_prepared_models_keep_settings(model) -> None:
    model.grouping = Grouping(max_people=60)
    try:
        assert model.prepared("cpu", "float32").grouping.max_people == 60
    finally:
        del model.grouping


@pytest.mark.slow
def test_runtimes_of_one_size_get_pictures_of_that_size(model) -> None:
    seen = []

    class Fixed(torch.nn.Module):
        def __init__(self, network: torch.nn.Module, example: torch.Tensor, precision: str) -> None:
            super().__init__()
            self.network, self.size = network, example.shape[2:]

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append((images.shape[2:], self.size))
            return self.network(images)

    plugins.register(SimpleNamespace(register_runtimes=hookimpl(lambda: {"fixed": Fixed})), "fixed")
    try:
        pipeline = Pipeline(model, device="cpu", runtime="fixed")
        assert [len(poses) for poses in pipeline.predict_batch([noise(50, 90), noise(90, 50)])]
        assert seen == [((64, 64), (64, 64))] * 2
    finally:
        plugins.unregister("fixed")


@pytest.mark.slow
def test_detectors_are_refused() -> None:
    with pytest.raises(HrkitError, match="higher_hrnet_w32 with 17 joints finds people by itself; leave the detector"):
        Pipeline.from_names("higher_hrnet_w32", "yolov3", weights=None)


def seated(model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the network find a person whose upper half is visible, and a faint ankle far away."""

    def forward(images: torch.Tensor) -> torch.Tensor:
        low, high = torch.zeros(len(images), 34, 16, 24), torch.zeros(len(images), 17, 32, 48)
        low[:, 17:] = 5
        for joint in range(9):
            low[:, joint, 6, 6 + joint % 3] = high[:, joint, 12, 12 + 2 * (joint % 3)] = 0.9
        high[:, 16, 28, 40] = 0.02
        return torch.cat([low, torch.nn.functional.pixel_unshuffle(high, 2)], dim=1)

    monkeypatch.setattr(model, "forward", forward)


@pytest.mark.slow
def test_hidden_joints_cost_no_person_score_box_or_id(model, monkeypatch: pytest.MonkeyPatch) -> None:
    seated(model, monkeypatch)
    (poses,) = model.find_poses([np.zeros((64, 96, 3), np.uint8)])
    assert len(poses) == 1
    assert 0.2 < poses.scores[0] < 0.4
    assert np.array_equal(poses.scores, poses.detections.scores)
    assert np.array_equal(poses[[0, 0]].scores, np.repeat(poses.scores, 2))
    assert poses.to_coco(1)[0]["score"] == poses.scores[0]
    assert poses.keypoint_scores[0, 16] > 0
    assert (poses.detections.xyxy[0, 2:] < [45, 35]).all()
    watched = Pipeline(model, device="cpu", precision="float32", runtime="eager")
    monkeypatch.setattr(watched, "predict_batch", lambda frames, *_: model.find_poses(frames))
    frames = [VideoFrame(number, number / 10, np.zeros((64, 96, 3), np.uint8)) for number in range(3)]
    assert [step.track_ids.tolist() for step in Follower(watched).step(frames)] == [[1], [1], [1]]


@pytest.mark.slow
def test_the_lowest_score_of_a_person(pipeline: Pipeline, model) -> None:
    frame = noise(90, 120)
    everybody = pipeline.predict(frame)
    middle = float(np.median(everybody.scores))
    model.threshold = middle
    try:
        best = Pipeline(model, device="cpu", precision="float32").predict(frame)
    finally:
        del model.threshold
    assert 0 < len(best) < len(everybody)
    np.testing.assert_array_equal(best.scores, everybody.scores[everybody.scores >= middle])
    named = Pipeline.from_names("higher_hrnet_w4", weights=None, input_size=(64, 64), detection_threshold=0.3)
    assert named.pose_model.threshold == 0.3


@pytest.mark.slow
@pytest.mark.needs_shared
def test_a_video_is_followed(shared: Path, pipeline: Pipeline) -> None:
    for number, (frame, poses) in enumerate(pipeline.video(shared / "media" / "street_rotated.mp4")):
        assert poses.track_ids is not None
        assert frame.shape == (576, 768, 3)
        if number == 3:
            break
