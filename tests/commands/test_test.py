"""`hrkit test`: figures equal to pycocotools', boxes of every kind, and mistakes found before anything runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.io import savemat

from hrkit import HrkitError, Pipeline, PoseModel, create_pose_model
from hrkit.cli import main
from hrkit.datasets.coco import coco
from hrkit.evaluation.ensemble import ensemble
from hrkit.images import read_image, write_image
from hrkit.skeletons import mpii16
from hrkit.structures import Skeleton
from hrkit.synthetic import paint_people
from hrkit.training.config import Augmentation, TrainConfig
from hrkit.training.run import train
from made_coco import make_coco, write_json

FIGURES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of tiny networks only wait for each other where processors are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The json of six pictures with one person each."""
    return make_coco(tmp_path / "data", pictures=6, people=1)


def _command(*arguments: Any, backbone: str = "synthetic", weights: Any = "none") -> list[str]:
    fixed = ["--backbone", backbone, "--weights", weights, "--workers", 0, "--device", "cpu"]
    return ["test", *map(str, fixed), *map(str, arguments)]


def run(*arguments: Any, **network: Any) -> Result:
    return CliRunner().invoke(main, _command(*arguments, **network))


@pytest.mark.slow
def test_several_weights_are_one_network(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        torch.manual_seed(seed)
        create_pose_model("timm/test_resnet", input_size=64).save(tmp_path / f"{seed}.safetensors")
    files = [tmp_path / f"{seed}.safetensors" for seed in (1, 2)]
    seen: list[PoseModel] = []
    monkeypatch.setattr(
        "hrkit.commands.test.ensemble", lambda networks: seen.append(ensemble(networks)) or seen[0]
    )
    more = ("--weights", files[1], "--annotations", made, "--output", tmp_path / "report")
    result = run(*more, backbone="timm/test_resnet", weights=files[0])
    assert result.exit_code == 0, result.output
    assert _report(tmp_path / "report")["weights"] == f"{files[0]} + {files[1]}"
    images = torch.rand(2, 3, 64, 64)
    alone = [create_pose_model("timm/test_resnet", weights=file, input_size=64).outputs(images) for file in files]
    torch.testing.assert_close(seen[0].outputs(images), (alone[0] + alone[1]) / 2, atol=1e-5, rtol=1e-4)


def test_networks_of_an_ensemble_are_alike() -> None:
    one, other = (create_pose_model("synthetic", input_size=size) for size in (64, 96))
    assert ensemble([one]) is one
    with pytest.raises(HrkitError, match=r"input_size is \(64, 64\) in one and \(96, 96\) in another"):
        ensemble([one, other])
    other = create_pose_model("synthetic", input_size=64)
    other.spec = other.spec.replaced(margin=1.1)
    with pytest.raises(HrkitError, match=r"margin is 1\.25 in one and 1\.1 in another"):
        ensemble([one, other])


def _report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def _pycocotools(annotations: Path, predictions: Path) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        measured = COCOeval(truth, truth.loadRes(str(predictions)), "keypoints")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return measured.stats.tolist()


def _detections(annotations: Path, path: Path, shift: float = 0.0) -> Path:
    """Two boxes around each person, the second a bit beside it and with half the score."""
    people = json.loads(annotations.read_text())["annotations"]
    rows = [
        {"image_id": one["image_id"], "category_id": 1, "bbox": [x + by, y, w, h], "score": score}
        for one in people
        for x, y, w, h in [one["bbox"]]
        for by, score in ((shift, 0.9), (shift + 9, 0.45))
    ]
    return write_json(path, rows)


@pytest.mark.slow
def test_annotated_boxes(made: Path, tmp_path: Path) -> None:
    result = run("--dataset", f"coco:{made}", "--decoder", "dark", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    report = _report(tmp_path / "out")
    assert report["AP"] > 0.95
    assert [report[name] for name in FIGURES] == _pycocotools(made, tmp_path / "out/predictions.json")
    assert (report["boxes"], report["decoder"], report["flip_test"], report["weights"]) == ("gt", "dark", False, "none")
    assert (report["nms"], report["nms_threshold"], report["score_threshold"]) == ("oks", 0.9, 0.2)
    assert (report["people"], report["images"], report["input_size"]) == (6, 6, [256, 192])
    assert report["pck"]["mean"] > 0.95
    assert "boxes: 6 annotated ones (ground truth)" in result.stdout
    assert "**Boxes: 6 annotated ones (ground truth).**" in (tmp_path / "out/report.md").read_text()
    assert f"AP {report['AP']:.4f}" in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("predictions.json", "report.json", "report.md", "curves.png", "worst.jpg")
    }


@pytest.mark.slow
def test_annotations_and_images_elsewhere(made: Path, tmp_path: Path) -> None:
    (made.parent / "images").rename(tmp_path / "photos")
    moved = made.rename(tmp_path / "people.json")
    result = run("--annotations", moved, "--images", tmp_path / "photos", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert _report(tmp_path / "out")["annotations"] == str(moved)
    wrong = run("--annotations", moved, "--images", tmp_path / "nowhere", "--output", tmp_path / "other")
    assert wrong.exit_code == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
@pytest.mark.parametrize("nms", ["oks", "soft-oks", "none"])
def test_a_detection_file(made: Path, tmp_path: Path, nms: str) -> None:
    boxes = _detections(made, tmp_path / "boxes.json")
    options = ("--dataset", f"coco:{made}", "--boxes", boxes, "--decoder", "dark", "--nms", nms)
    result = run(*options, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    report = _report(tmp_path / "out")
    assert (report["boxes"], report["box_count"], report["people_matched"]) == (str(boxes), 12, 6)
    rows = json.loads((tmp_path / "out/predictions.json").read_text())
    assert len(rows) == (6 if nms == "oks" else 12)
    twice = 0 if nms == "oks" else 6
    assert report["outcomes"] == {"found": 6, "missed": 0, "twice": twice, "invented": 0, "inexact": 0}
    assert f"people and boxes: found 100.0 %, missed 0.0 %, found twice {100 * twice / 6:.1f} %" in result.stdout
    assert max(row["score"] for row in rows) == pytest.approx(0.9, abs=0.02)
    assert [report[name] for name in FIGURES] == _pycocotools(made, tmp_path / "out/predictions.json")
    assert report["AP"] > 0.9
    assert f"12 of {boxes}, scores from 0" in result.stdout
    assert run(*options, "--box-threshold", 0.6, "--output", tmp_path / "less").exit_code == 0
    assert _report(tmp_path / "less")["box_count"] == 6


@pytest.mark.slow
def test_a_detector_sees_every_picture(made: Path, tmp_path: Path) -> None:
    content = json.loads(made.read_text())
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] != 2]
    write_json(made, content)
    result = run("--dataset", f"coco:{made}", "--boxes", "synthetic", "--decoder", "dark", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    report = _report(tmp_path / "out")
    assert (report["boxes"], report["people"], report["people_matched"]) == ("synthetic", 5, 5)
    rows = json.loads((tmp_path / "out/predictions.json").read_text())
    assert {row["image_id"] for row in rows} == {1, 2, 3, 4, 5, 6}
    assert [report[name] for name in FIGURES] == _pycocotools(made, tmp_path / "out/predictions.json")
    assert "5 of 5 annotated people have a box" in (tmp_path / "out/report.md").read_text()
    assert "of the detector synthetic, its own threshold" in result.stdout


def _torchrun(*program: Any) -> subprocess.CompletedProcess[str]:
    """The program in two processes."""
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*starter, *map(str, program)], capture_output=True, text=True, env=environment, timeout=900
    )


@pytest.mark.slow
def test_two_processes_give_the_report_of_one(tmp_path: Path) -> None:
    made = make_coco(tmp_path / "data", pictures=18, people=1)  # a detector gets 8 at once, the network 4
    common = ("--dataset", f"coco:{made}", "--batch-size", 4, "--decoder", "dark", "--input-size", 64, 64)
    kinds = ("gt", "synthetic")
    commands = [_command(*common, "--boxes", boxes, "--output", tmp_path / f"two-{boxes}") for boxes in kinds]
    (tmp_path / "both.py").write_text(
        "import torch\nfrom hrkit.cli import main\nfrom hrkit.runtimes.distributed import joined_world\n"
        'with joined_world(torch.device("cpu")):\n'
        f"    for command in {commands}:\n        main(command, standalone_mode=False)\n"
    )
    done = _torchrun(tmp_path / "both.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report: ") == 2
    assert done.stdout.count("18 people, 18 pictures") == 2
    for boxes in kinds:
        one, two = tmp_path / f"one-{boxes}", tmp_path / f"two-{boxes}"
        assert run(*common, "--boxes", boxes, "--output", one).exit_code == 0
        assert (two / "predictions.json").read_bytes() == (one / "predictions.json").read_bytes()
        reports = [_report(folder) for folder in (one, two)]
        assert reports[1]["device"] == "2 x cpu"
        assert reports[1]["box_count"] == 18
        for report in reports:
            for name in ("device", "seconds", "network_seconds", "outside_network"):
                del report[name]
        assert reports[0] == reports[1]


@pytest.mark.slow
def test_an_error_of_one_process_ends_all_with_one_line(tmp_path: Path) -> None:
    made = make_coco(tmp_path / "data", pictures=10, people=1)
    (made.parent / "images/009.png").write_bytes(b"no picture")  # which only the second gets to see
    options = ("--dataset", f"coco:{made}", "--boxes", "synthetic", "--output", tmp_path / "out")
    done = _torchrun("-m", "hrkit", *_command(*options, "--input-size", 64, 64))
    assert done.returncode != 0
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert line.endswith("009.png: is no picture, or damaged")
    assert "Error:" not in done.stderr.replace("ChildFailedError:", "")  # that one is torchrun's own
    assert not (tmp_path / "out/report.json").exists()


@pytest.mark.slow
def test_a_report_is_not_written_over(made: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    result = run("--dataset", f"coco:{made}", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "is not empty; pass --overwrite" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
    assert run("--dataset", f"coco:{made}", "--output", tmp_path / "out", "--overwrite").exit_code == 0
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--boxes", "yolo3"], "unknown boxes 'yolo3'; did you mean yolov3"),
        (["--boxes", "missing.json"], "missing.json: no such file"),
        (["--boxes", "empty.json"], "empty.json: no boxes of category 1"),
        (["--boxes", "strange.json"], "row 0, image_id: 4711 is the id of no picture"),
        (["--decoder", "drak"], "did you mean dark"),
        (["--device", "tpu"], "no device is called 'tpu'"),
        (["--device", "cpu,cpu"], "a test runs on one device"),
        (["--precision", "float7"], "unknown precision 'float7'"),
        (["--dataset", "coco:nowhere"], "no COCO json there"),
        (["--dataset", "koko"], "choices: coco, custom, mpii"),
        (["--input-size", "255", "192"], "must be a multiple of 4"),
        (["--output", "file"], "file is a file"),
    ],
)
def test_mistakes(made: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str) -> None:
    monkeypatch.chdir(made.parent)
    write_json(Path("empty.json"), [])
    write_json(Path("strange.json"), [{"image_id": 4711, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.5}])
    Path("file").write_text("mine")
    result = run("--dataset", f"coco:{made}", "--output", "out", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert not Path("out/report.json").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dataset", "coco*2"], "a weight is for training only"),
        (["--dataset", "coco:a", "--annotations", "b.json"], "name one place"),
        (["--nms", "hard"], "'hard' is not one of"),
    ],
)
def test_mistakes_in_the_options(options: list[str], says: str) -> None:
    result = run(*options)
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.slow
def test_joints_are_matched_by_name(tmp_path: Path) -> None:
    made = make_coco(tmp_path / "data", pictures=3, people=1, skeleton=mpii16)
    weights = _trained(f"coco:{make_coco(tmp_path / 'other', pictures=2)}", tmp_path / "run", max_steps=1, batch_size=2)
    options = ("--dataset", f"coco:{made}", "--output", tmp_path / "out")
    result = run(*options, backbone="timm/test_resnet", weights=weights)
    assert result.exit_code == 0, result.output
    assert "12 of the network's 17 joints are annotated, matched by name" in result.stdout
    report = _report(tmp_path / "out")
    assert report["annotations"] == str(made)
    assert report["skeleton"] == "coco17"
    assert report["pck"]["per_joint"]["nose"] == -1


def _trained(dataset: str, output: Path, **changes: Any) -> Path:
    """A tiny network, trained for a moment."""
    still = Augmentation(scale=0.0, rotation=0.0, flip=0.0, half_body=0.0)
    settings: dict[str, Any] = {
        "backbone": "timm/test_resnet",
        "backbone_weights": None,
        "input_size": (64, 64),
        "batch_size": 6,
        "augmentation": still,
        "workers": 0,
        "device": "cpu",
        "tensorboard": False,
        **changes,
    }
    train(TrainConfig(output=str(output), datasets=(dataset,), **settings))
    return output / "best.safetensors"


@pytest.mark.slow
def test_joints_of_ones_own_train_test_and_predict(tmp_path: Path) -> None:
    names = ["nose", "left_paw", "right_paw", "tail"]
    cat = Skeleton("cat", names, [("nose", "tail")], [("left_paw", "right_paw")], [0.1] * 4)
    for split, seed in (("train", 0), ("val", 1)):
        make_coco(tmp_path / split, pictures=6, people=1, skeleton=cat, seed=seed)
    (tmp_path / "cats.toml").write_text(
        'name = "cat"\nkeypoints = ["nose", "left_paw", "right_paw", "tail"]\n'
        'edges = [["nose", "tail"]]\nflip_pairs = [["left_paw", "right_paw"]]\nsigmas = 0.1\n'
        '[train]\nannotations = "train/person_keypoints_made.json"\nimages = "train/images"\n'
        '[val]\nannotations = "val/person_keypoints_made.json"\nimages = "val/images"\n'
    )
    dataset = f"custom:{tmp_path / 'cats.toml'}"
    weights = _trained(dataset, tmp_path / "run", epochs=60, learning_rate=3e-3, milestones=(50,), evaluate_every=60)
    options = ("--dataset", dataset, "--split", "train", "--flip-test", "--output", tmp_path / "out")
    result = run(*options, backbone="timm/test_resnet", weights=weights)
    assert result.exit_code == 0, result.output
    report = _report(tmp_path / "out")
    assert (report["skeleton"], report["input_size"], report["pck"]["scale"]) == ("cat", [64, 64], "box diagonal")
    assert list(report["pck"]["per_joint"]) == list(cat.keypoint_names)
    assert report["AP"] > 0.5
    options = ("--dataset", dataset, "--output", tmp_path / "held_out")
    held_out = run(*options, backbone="timm/test_resnet", weights=weights)
    assert held_out.exit_code == 0, held_out.output
    pipeline = Pipeline.from_names("timm/test_resnet", weights=weights, device="cpu")
    poses = pipeline.predict(read_image(tmp_path / "val/images/001.png"), boxes=[[20, 20, 120, 200]])
    assert poses.skeleton.keypoint_names == cat.keypoint_names
    assert poses.keypoints.shape == (1, 4, 2)


def _mpii(folder: Path, people: int = 3) -> Path:
    """MPII's folders with painted people."""
    random = np.random.default_rng(0)
    rows, points = [], random.uniform((60, 60), (150, 220), (people, 16, 2))
    for number, person in enumerate(points):
        write_image(folder / f"images/{number}.png", paint_people((280, 220), person[None]))
        low, high = person.min(0), person.max(0)
        scale = float((high - low).max() / 200)
        center = (low + high) / 2 + 1 - [0, 15 * scale]
        joints = (person + 1).tolist()
        row = {"image": f"{number}.png", "center": center.tolist(), "scale": scale, "joints": joints}
        rows.append({**row, "joints_vis": [1] * 16})
    write_json(folder / "annot/valid.json", rows)
    heads = np.broadcast_to(np.array([[10.0, 10], [40, 50]])[..., None], (2, 2, people))
    truth = {"pos_gt_src": points.transpose(1, 2, 0) + 1, "jnt_missing": np.zeros((16, people)), "headboxes_src": heads}
    savemat(folder / "annot/gt_valid.mat", truth)
    return folder


@pytest.mark.slow
def test_mpii_is_measured_in_pckh(tmp_path: Path) -> None:
    folder = _mpii(tmp_path / "mpii")
    options = ("--dataset", f"mpii:{folder}", "--input-size", 256, 256, "--decoder", "dark")
    result = run(*options, "--output", tmp_path / "out")
    assert result.exit_code == 0, result.output
    report = _report(tmp_path / "out")
    assert list(report["PCKh"]) == [
        *("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean", "Mean@0.1")
    ]
    assert report["PCKh"]["Mean"] > 95
    assert "AP" not in report
    page = (tmp_path / "out/report.md").read_text()
    assert "| GFLOPs | Head | Shoulder | Elbow | Wrist | Hip | Knee | Ankle | Mean | Mean@0.1 |" in page
    assert "PCKh: Head" in result.stdout
    assert not (tmp_path / "out/curves.png").exists()


def test_mistakes_with_mpii(tmp_path: Path) -> None:
    folder = _mpii(tmp_path / "mpii")
    arguments = ("--dataset", f"mpii:{folder}", "--input-size", 256, 256, "--output", tmp_path / "out")
    detected = run(*arguments, "--boxes", "synthetic")
    assert detected.exit_code == 2
    assert "measured with the annotated boxes" in detected.stderr
    content = json.loads((folder / "annot/valid.json").read_text())
    write_json(folder / "annot/valid.json", content[:2])
    assert "2 people, but 3 in" in run(*arguments).stderr
    (folder / "annot/gt_valid.mat").write_bytes(b"no matrix")
    assert "cannot be read as MPII's ground truth" in run(*arguments).stderr
    savemat(folder / "annot/gt_valid.mat", {"pos_gt_src": np.zeros((16, 2, 3))})
    assert "cannot be read as MPII's ground truth" in run(*arguments).stderr
    (folder / "annot/gt_valid.mat").unlink()
    assert "PCKh needs its head boxes" in run(*arguments).stderr


@pytest.mark.slow
@pytest.mark.needs_shared
def test_lite_on_real_people(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "coco_val"
    content = json.loads((folder / "person_keypoints_val.json").read_text())
    clear = [one for one in content["annotations"] if one["num_keypoints"] >= 12][:20]
    images = {one["image_id"] for one in clear}
    content["annotations"] = clear
    content["images"] = [image for image in content["images"] if image["id"] in images]
    some = write_json(tmp_path / "some.json", content)
    options = ("--annotations", some, "--images", folder / "images", "--batch-size", 10, "--output", tmp_path / "out")
    result = run(*options, backbone="lite", weights="auto")
    assert result.exit_code == 0, result.output
    report = _report(tmp_path / "out")
    assert report["AP"] > 0.3
    assert report["weights"] == "lite-coco-192x160"
    assert report["parameters"] > 6e6
    assert [report[name] for name in FIGURES] == _pycocotools(some, tmp_path / "out/predictions.json")
    assert len(coco(some, images=folder / "images")) == 20
