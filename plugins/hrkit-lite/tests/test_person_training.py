"""The recipe of the person network: pictures, assignment, losses, measures, and a run that is stopped and resumed."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from hrkit_lite.person_network import PersonNetwork, cell_centers, decode_boxes
from torchvision.ops import generalized_box_iou

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

import find_unlabelled
import fit_score
import person_loss
import person_metrics
import person_samples
import train_person
from person_samples import Photo

SIZE = (96, 128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos in COCO's format; each person is a filled rectangle of one colour, exactly their box."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "images").mkdir()
    images, annotations = [], []
    for number, boxes in enumerate(([[20, 10, 60, 90]], [[100, 20, 40, 70], [10, 30, 50, 40]], [])):
        pixels = np.full((120, 160, 3), 90, np.uint8)
        for x, y, width, height in boxes:
            pixels[y : y + height, x : x + width] = (0, 0, 255)
            joints = np.zeros((17, 3))
            joints[:7] = [[x + width * part, y + height / 2 * part, 2] for part in np.linspace(0, 1, 7)]
            annotations.append(
                {"image_id": number, "bbox": [x, y, width, height], "keypoints": joints.ravel().tolist()}
            )
        images.append({"id": number, "file_name": f"{number}.png", "width": 160, "height": 120})
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels)
    content = {"images": images, "annotations": annotations}
    (folder / "person_keypoints_made.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def photos(folder: Path) -> list[Photo]:
    return person_samples.read_photos(folder)


def red(pixels: np.ndarray) -> np.ndarray:
    """(H,W) where a person is painted."""
    return pixels[..., 2].astype(int) - pixels[..., 0] > 60


def test_photos_are_read(photos: list[Photo]) -> None:
    assert [len(photo.people) for photo in photos] == [1, 2, 0]
    assert photos[0].people.tolist() == [[20, 10, 80, 100]]
    assert photos[0].heads.tolist() == [[20, 10, 80, 55]]


def test_people_without_annotation_are_neither_right_nor_wrong(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "unlabelled.json"
    file.write_text(json.dumps({"2.png": [[40, 30, 80, 90]]}))
    photos = person_samples.read_photos(folder, file)
    assert [photo.unlabelled.tolist() for photo in photos] == [[], [], [[40, 30, 80, 90]]]
    to_input = np.array([[0.5, 0, 3], [0, 0.5, -5]])
    picture = person_samples.warped(photos[2], cv2.imread(str(photos[2].path)), to_input, SIZE)
    assert picture.people.tolist() == []
    assert picture.either.tolist() == [[23, 10, 43, 40]]


def test_a_pose_tells_people_from_things() -> None:
    scores = np.zeros((3, 17), np.float32)
    scores[0], scores[1, :8], scores[2, :3] = 0.15, 0.25, 0.5
    assert find_unlabelled.shows_somebody(scores).tolist() == [False, True, False]


@pytest.mark.parametrize("seed", range(6))
def test_boxes_move_with_the_pixels(photos: list[Photo], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person_samples, "GREY", 0)
    random = np.random.default_rng(seed)
    picture = person_samples.scaled(photos[1], SIZE, random)
    for turned in (picture, person_samples.mirrored(picture)):
        covered = np.zeros(SIZE, bool)
        for x1, y1, x2, y2 in np.round(np.concatenate([turned.people, turned.either])).astype(int):
            covered[y1:y2, x1:x2] = True
        painted = red(turned.pixels)
        assert painted.any()
        assert (painted & covered).sum() >= 0.9 * max(painted.sum(), covered.sum())


def test_close_ups_show_somebody_large(photos: list[Photo]) -> None:
    random = np.random.default_rng(0)
    for _ in range(8):
        picture = person_samples.close_up(photos[0], SIZE, random)
        assert picture is not None
        sides = picture.people[0, 2:] - picture.people[0, :2]
        assert (sides > [0.25 * SIZE[1], 0.25 * SIZE[0]]).all()
        assert (picture.people >= 0).all()
        assert (picture.people <= [128, 96, 128, 96]).all()
    assert person_samples.close_up(photos[2], SIZE, random) is None


def test_a_step_has_the_same_pictures_each_time(photos: list[Photo]) -> None:
    first, again, other = (train_person.draw_batch(photos, step, 2) for step in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert all(torch.equal(one, two) for one, two in zip(first[1], again[1], strict=True))
    assert first[0].shape != other[0].shape or not torch.equal(first[0], other[0])


def outputs_for(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(A,45) with which each cell gives the one of (M,4) boxes whose centre is nearest, the centres and the strides."""
    centers, strides = cell_centers((128, 128))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = boxes[torch.cdist(centers, middle).argmin(1)]
    wanted = torch.cat([centers - nearest[:, :2], nearest[:, 2:] - centers], 1) / strides[:, None]
    bins = torch.arange(11.0)
    logits = -4 * (wanted.clamp(0, 10)[..., None] - bins).square()
    return torch.cat([torch.zeros(len(centers), 1), logits.flatten(1)], 1), centers, strides


def test_cells_answer_for_the_person_they_are_at() -> None:
    people = torch.tensor([[10.0, 10, 60, 100], [70, 30, 120, 120]])
    outputs, centers, strides = outputs_for(people)
    boxes = decode_boxes(outputs[:, 1:], centers, strides)
    owner, quality = person_loss.assign(outputs[:, 0], boxes, centers, strides, people)
    for person in range(2):
        cells = owner == person
        assert 1 <= cells.sum() <= 10
        middle = (people[person, :2] + people[person, 2:]) / 2
        assert ((centers[cells] - middle).abs().amax(1) <= 2.5 * strides[cells]).all()
        torch.testing.assert_close(quality[cells], person_loss.iou(boxes[cells], people[person : person + 1])[:, 0])
        assert (quality[cells] > 0.5).all()
    assert (quality[owner < 0] == 0).all()
    nobody, _ = person_loss.assign(outputs[:, 0], boxes, centers, strides, torch.zeros(0, 4))
    assert (nobody == -1).all()


def test_losses_fall_to_nothing_for_what_is_right() -> None:
    people = torch.tensor([[16.0, 16, 80, 112]])
    outputs, centers, strides = outputs_for(people)
    right = outputs.clone()
    boxes = decode_boxes(outputs[:, 1:], centers, strides)
    owner, quality = person_loss.assign(outputs[:, 0], boxes, centers, strides, people)
    right[:, 0] = torch.where(owner >= 0, quality.clamp(0.01, 0.99).logit(), -12.0)
    none = [torch.zeros(0, 4)]
    good = person_loss.person_loss(right[None], centers, strides, [people], none)
    bad = person_loss.person_loss(torch.zeros_like(outputs)[None], centers, strides, [people], none)
    assert set(good) == {"quality", "giou", "distribution"}
    assert good["quality"] < 0.05 * bad["quality"]
    assert good["giou"] < 0.5 * bad["giou"]
    assert good["distribution"] < bad["distribution"]


def quality_losses(score: float, free: torch.Tensor) -> list[float]:
    """The quality loss with one person annotated and another not, whose cells have a score of 0.2 and then `score`."""
    person, other = torch.tensor([[16.0, 16, 56, 112]]), torch.tensor([[72.0, 16, 112, 112]])
    outputs, centers, strides = outputs_for(torch.cat([person, other]))
    outputs[:, 0] = torch.tensor(0.2).logit()
    changed = outputs.clone()
    about_other = person_loss.iou(decode_boxes(outputs[:, 1:], centers, strides), other)[:, 0] > 0.5
    changed[about_other, 0] = torch.tensor(score).logit()
    return [
        float(person_loss.person_loss(one[None], centers, strides, [person], [free])["quality"])
        for one in (outputs, changed)
    ]


def test_a_network_that_is_sure_of_somebody_who_is_not_there_is_told_so() -> None:
    nobody = torch.zeros(0, 4)
    assert quality_losses(0.9, nobody)[1] > quality_losses(0.3, nobody)[1] > quality_losses(0.3, nobody)[0]


def test_of_boxes_that_may_be_found_either_answer_is_right() -> None:
    losses = quality_losses(0.3, torch.tensor([[72.0, 16, 112, 112]]))
    assert losses[0] == pytest.approx(losses[1])


def test_nobody_in_any_picture_still_trains() -> None:
    outputs = torch.full((2, 336, 45), -1.0, requires_grad=True)
    centers, strides = cell_centers((128, 128))
    none = [torch.zeros(0, 4)] * 2
    sum(person_loss.person_loss(outputs, centers, strides, none, none).values()).backward()
    assert outputs.grad is not None
    assert (outputs.grad[..., 0] > 0).all()
    assert (outputs.grad[..., 1:] == 0).all()


def test_giou_is_that_of_torchvision() -> None:
    corners = torch.rand(20, 2, 4, generator=torch.Generator().manual_seed(0)) * 50
    boxes = torch.cat([corners[..., :2], corners[..., :2] + corners[..., 2:] + 1], 2)
    wanted = generalized_box_iou(boxes[:, 0], boxes[:, 1]).diagonal()
    torch.testing.assert_close(person_loss.giou(boxes[:, 0], boxes[:, 1]), wanted)


def test_the_distribution_is_pulled_to_the_bins_around_the_distance() -> None:
    centers, strides, truth = torch.tensor([[50.0, 50]]), torch.tensor([10.0]), torch.tensor([[15.0, 20, 60, 50]])
    logits = torch.full((1, 4, 11), -20.0)
    for side, low, share in ((0, 3, 0.5), (1, 3, 0.0), (2, 1, 0.0), (3, 0, 0.0)):
        logits[0, side, low], logits[0, side, low + 1] = np.log(1 - share + 1e-9), np.log(share + 1e-9)
    least = person_loss.distribution_focal(logits.flatten(1), centers, strides, truth)
    assert least.item() == pytest.approx(np.log(2) / 4, abs=1e-4)
    assert person_loss.distribution_focal(logits.flatten(1) * 0, centers, strides, truth) > least


def test_average_precision_recall_and_calibration() -> None:
    people = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)
    judged = person_metrics.Judged(
        np.array([0.9, 0.8, 0.7, 0.6]),
        np.array([[True, False, True, True]] * 5 + [[False] * 4] * 5),
        np.zeros(4, int),
        np.zeros((4, 4)),
        people=4,
        photos=2,
    )
    # recall 1/4 at precision 1, then 3/4 at precision 3/4: 26 and 50 of 101 points
    assert judged.average_precision()[0] == pytest.approx((26 + 50 * 0.75) / 101)
    assert judged.average_precision()[9] == 0
    assert judged.recall(1) == 0.25
    assert judged.recall(1.5) == 0.5
    assert judged.recall(50) == 0.75
    assert judged.threshold(1.5) == pytest.approx(0.7)
    assert judged.calibration([0.5, 0.75, 1.0]) == [(pytest.approx(0.65), 1.0, 2), (pytest.approx(0.85), 0.5, 2)]
    assert person_metrics.matched(people[[0, 0, 1]].astype(float), people.astype(float))[0].tolist() == [
        True,
        False,
        True,
    ]
    assert not person_metrics.matched(people.astype(float), people[:0].astype(float)).any()


@pytest.mark.slow
def test_a_stopped_run_ends_as_one_that_was_not(folder: Path, tmp_path: Path, one_thread: None) -> None:
    start = tmp_path / "start.safetensors"
    torch.manual_seed(0)
    safetensors.torch.save_file(PersonNetwork().state_dict(), start)

    def run(name: str, steps: int) -> dict[str, torch.Tensor]:
        options: dict[str, Any] = {"train": folder, "validation": folder, "start": start, "run": tmp_path / name}
        options |= {"steps": 2, "cycle": 2, "batch_size": 2, "learning_rate": 1e-3, "average": 0.5}
        options |= {"save_every": 1, "stop_at": steps, "unlabelled": None, "bfloat16": False}
        train_person.train(argparse.Namespace(**options))
        return safetensors.torch.load_file(tmp_path / name / "average.safetensors")

    whole = run("whole", 2)
    run("stopped", 1)
    resumed = run("stopped", 2)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2]
    assert {"quality", "giou", "distribution", "samples_per_second"} <= lines[0].keys()
    assert {"AP", "AP50", "recall_5", "recall_3"} <= lines[-1].keys()


def test_the_score_says_how_many_are_people() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.rand(4000, generator=random) * 0.9 + 0.05
    right = (torch.rand(4000, generator=random) < truth).float()
    told = (0.5 * truth.logit() - 1).sigmoid()  # too timid
    slope, offset = fit_score.fit(told, right)
    assert slope == pytest.approx(2, abs=0.2)
    assert offset == pytest.approx(2, abs=0.2)
