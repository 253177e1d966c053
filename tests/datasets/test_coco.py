"""COCO-style datasets: what is read, and what stops before hours are spent."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrkit.datasets.base import KeypointDataset, concatenate
from hrkit.datasets.coco import coco
from hrkit.datasets.custom import custom
from hrkit.datasets.mpii import mpii
from hrkit.errors import DatasetError
from hrkit.skeletons import coco17, lsp14, mpii16
from hrkit.structures import Skeleton
from made_coco import make_coco


def test_what_is_read(tmp_path: Path) -> None:
    path = make_coco(tmp_path)
    content = json.loads(path.read_text())
    dataset = coco(tmp_path)
    assert len(dataset) == 8
    assert len(dataset.image_paths) == 4
    assert dataset.skeleton is coco17
    assert dataset.ids.tolist() == list(range(1, 9))
    first = content["annotations"][0]
    points = np.delete(first["keypoints"], slice(2, None, 3))
    np.testing.assert_allclose(dataset.keypoints[0].ravel(), points, rtol=1e-6)
    x, y, width, height = first["bbox"]
    np.testing.assert_allclose(dataset.boxes[0], [x, y, x + width - 1, y + height - 1])
    assert dataset.read_frame(7).shape == (240, 340, 3)


def test_nothing_can_be_written(tmp_path: Path) -> None:
    make_coco(tmp_path)
    dataset = coco(tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        dataset.keypoints[0, 0] = 1
    with pytest.raises(AttributeError):
        dataset.boxes = dataset.boxes  # type: ignore[misc]


def test_official_folders_and_zipped_pictures(tmp_path: Path) -> None:
    made = make_coco(tmp_path / "made")
    (tmp_path / "coco/annotations").mkdir(parents=True)
    made.rename(tmp_path / "coco/annotations/person_keypoints_val2017.json")
    with zipfile.ZipFile(tmp_path / "coco/val2017.zip", "w") as archive:
        for picture in (tmp_path / "made/images").iterdir():
            archive.write(picture, f"val2017/{picture.name}")
    dataset = coco(tmp_path / "coco", split="val")
    assert dataset.image_paths[0].endswith("val2017.zip@val2017/001.png")
    zipped = dataset.read_frame(0)
    (tmp_path / "coco/images").mkdir()
    (tmp_path / "made/images").rename(tmp_path / "coco/images/val2017")
    np.testing.assert_array_equal(coco(tmp_path / "coco", split="val").read_frame(0), zipped)


def test_a_json_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = make_coco(Path("made"))
    made.rename("people.json")
    Path("made/images").rename("images")
    assert coco("people.json").image_paths[0] == str(Path("images/001.png"))


def test_crowds_and_people_without_labels_are_left_out(tmp_path: Path) -> None:
    path = make_coco(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["keypoints"] = [0] * 51
    content["annotations"][2]["bbox"] = [10, 10, 0, 5]
    path.write_text(json.dumps(content))
    assert coco(tmp_path).ids.tolist() == [4, 5, 6, 7, 8]


def _change(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return apply


def _double(content: dict[str, Any]) -> None:
    content["annotations"] += content["annotations"][2:4]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: (path.parent / "images/002.png").unlink(), "1 of 4 pictures are missing, first 002.png"),
        (lambda path: path.write_text(path.read_text()[:-40]), r"damaged at line 1, column \d+"),
        (lambda path: path.write_text("[]"), "no list 'images'"),
        (_change(lambda c: c["images"][1].update(file_name="/etc/hostname")), "1 of 4 pictures are not in .*, first"),
        (_change(lambda c: c["images"][1].update(file_name="../a.json")), r"are not in .*, first '\.\./a\.json'"),
        (_change(_double), "2 of 10 annotations are faulty: id 3, id: is there twice; id 4, id"),
        (
            _change(lambda c: c["annotations"][5]["keypoints"].pop()),
            "1 of 8 annotations are faulty: id 6, keypoints: has 50 numbers, not 3 per joint",
        ),
        (
            _change(lambda c: c["annotations"][3].update(bbox=[900, 5, 9, 9])),
            "id 4, bbox: .* is wholly outside its picture",
        ),
        (
            _change(lambda c: c["annotations"][3].update(bbox=[float("nan")] * 4)),
            "id 4, bbox: .* has a value that is not",
        ),
        (_change(lambda c: c["annotations"][3].update(image_id=77)), "id 4, image_id: 77 is the id of no picture"),
        (_change(lambda c: c.update(annotations=[])), "nobody in it has a box"),
        (_change(lambda c: c["categories"][0].pop("keypoints")), r"no category has keypoints \(categories: person\)"),
        (_change(lambda c: [a.update(keypoints=[0] * 51) for a in c["annotations"]]), "nobody in it has a box"),
        (lambda path: path.unlink(), "no COCO json there"),
        (lambda path: path.with_name("person_keypoints_b.json").write_text("{}"), "several annotation files"),
    ],
)
def test_bad_data_says_file_id_and_count(tmp_path: Path, damage: Callable[[Path], None], says: str) -> None:
    damage(make_coco(tmp_path))
    with pytest.raises(DatasetError, match=says) as error:
        coco(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_pictures_anywhere_if_asked_for(tmp_path: Path) -> None:
    path = make_coco(tmp_path / "people", pictures=1)
    (tmp_path / "people/images/001.png").rename(tmp_path / "elsewhere.png")
    _change(lambda c: c["images"][0].update(file_name=str(tmp_path / "elsewhere.png")))(path)
    with pytest.raises(DatasetError, match="to read them, name a folder that holds them as images"):
        coco(path)
    assert coco(path, images=tmp_path).read_frame(0).shape == (240, 340, 3)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0" + bytes(2000)])
def test_a_damaged_picture_is_named_when_read(tmp_path: Path, content: bytes) -> None:
    make_coco(tmp_path)
    (tmp_path / "images/001.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"001\.png"):
        coco(tmp_path).read_frame(0)


def test_joints_are_mapped_by_name(tmp_path: Path) -> None:
    make_coco(tmp_path)
    dataset = coco(tmp_path)
    as_lsp = dataset.with_skeleton(lsp14)
    assert as_lsp.visible.sum(1).tolist() == [12] * 8  # neck and head top are not COCO's
    k = lsp14.index("left_wrist")
    np.testing.assert_array_equal(as_lsp.keypoints[:, k], dataset.keypoints[:, coco17.index("left_wrist")])
    back = as_lsp.with_skeleton(coco17)
    assert back.annotations == dataset.annotations is not None
    assert back.visible[0].tolist() == [0] * 5 + [1] * 12  # the face went with LSP's joints
    strange = Skeleton("strange", ["tail"], [], [], [0.1])
    with pytest.raises(DatasetError, match="no joint name in common"):
        dataset.with_skeleton(strange)


def test_several_datasets_in_one_table(tmp_path: Path) -> None:
    make_coco(tmp_path / "a", pictures=2)
    make_coco(tmp_path / "b", pictures=3, people=1, skeleton=lsp14)
    both = concatenate([coco(tmp_path / "a"), coco(tmp_path / "b")])
    assert len(both) == 4 + 3
    assert both.skeleton is coco17
    assert both.image_index.tolist() == [0, 0, 1, 1, 2, 3, 4]
    assert both.visible[4:].sum(1).tolist() == [12] * 3
    assert both.read_frame(6).shape == (240, 190, 3)


def test_detected_boxes_take_the_place_of_people(tmp_path: Path) -> None:
    make_coco(tmp_path)
    detected = coco(tmp_path).with_boxes([3, 1, 3], [[0, 0, 9, 9], [1, 1, 5, 9], [2, 2, 9, 9]], [0.5, 0.9, 0.1])
    assert detected.image_index.tolist() == [2, 0, 2]
    assert detected.ids.tolist() == [-1] * 3
    assert detected.scores.tolist() == pytest.approx([0.5, 0.9, 0.1])
    with pytest.raises(DatasetError, match="1 pictures of the boxes are unknown, first id 99"):
        coco(tmp_path).with_boxes([99], [[0, 0, 9, 9]], [1])


def test_custom_joints(tmp_path: Path) -> None:
    hand = Skeleton("hand", ["thumb", "index", "ring", "wrist"], [("wrist", "thumb")], [], [0.05] * 4)
    made = make_coco(tmp_path / "hands", skeleton=hand)
    toml = tmp_path / "hands.toml"
    toml.write_text(
        'name = "hand"\nkeypoints = ["thumb", "index", "ring", "wrist"]\nedges = [["wrist", "thumb"]]\n'
        f'sigmas = 0.04\n[train]\nannotations = "hands/{made.name}"\nimages = "hands/images"\n'
    )
    dataset = custom(toml)
    assert dataset.skeleton.keypoint_names == hand.keypoint_names
    assert dataset.skeleton.sigmas.tolist() == [0.04] * 4
    assert len(dataset) == 8
    for damage, says in (
        ('keypoints = "thumb"', "keypoints must be a list of names"),
        ('keypoints = ["a"]\nedges = [["a", "b"]]', "unknown keypoint 'b'"),
        ('keypoints = ["a"]\ncolour = 3', "unknown key 'colour'"),
        ('keypoints = ["a"]', r"no table \[train\]"),
        ("keypoints = [", "is no TOML"),
    ):
        toml.write_text(damage)
        with pytest.raises(DatasetError, match=says):
            custom(toml)


def test_joints_of_a_toml_are_those_of_the_same_name_in_the_json(tmp_path: Path) -> None:
    made = make_coco(tmp_path / "people")
    toml, everyone = tmp_path / "some.toml", coco(made)
    toml.write_text(f"keypoints = ['right_wrist', 'nose', 'left_wrist']\n[train]\nannotations = 'people/{made.name}'\n")
    some = custom(toml)
    assert some.skeleton.flip_pairs == (("left_wrist", "right_wrist"),)
    np.testing.assert_array_equal(some.keypoints, everyone.keypoints[:, [10, 0, 9]])
    turned = list(reversed(everyone.skeleton.keypoint_names))
    toml.write_text(f"keypoints = {turned}\n[train]\nannotations = 'people/{made.name}'\n")
    np.testing.assert_array_equal(custom(toml).keypoints, everyone.keypoints[:, ::-1])
    toml.write_text(f"keypoints = {[f'part {k}' for k in range(17)]}\n[train]\nannotations = 'people/{made.name}'\n")
    np.testing.assert_array_equal(custom(toml).keypoints, everyone.keypoints)  # by place
    toml.write_text(f"keypoints = ['nose', 'tail']\n[train]\nannotations = 'people/{made.name}'\n")
    with pytest.raises(DatasetError, match="keypoints"):
        custom(toml)


def test_mpii(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "center": [101.0, 121.0], "scale": 1.0, "joints": [[11, 21]] * 16, "joints_vis": [1] * 16},
        {"image": "a.png", "center": [50.0, 60.0], "scale": 0.5, "joints": [[0, 0]] * 16, "joints_vis": [0] * 16},
    ]
    make_coco(tmp_path, pictures=1)
    (tmp_path / "images/001.png").rename(tmp_path / "images/a.png")
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot/valid.json").write_text(json.dumps(rows))
    dataset = mpii(tmp_path, split="val")
    assert dataset.skeleton is mpii16
    assert dataset.keypoints[0, 0].tolist() == [10, 20]
    # centre 1-based and moved down by 15 scale; 200 px a unit of scale
    np.testing.assert_allclose(dataset.boxes[0], [0, 35, 200, 235])
    assert dataset.image_index.tolist() == [0, 0]
    (tmp_path / "annot/valid.json").write_text(json.dumps([{**rows[0], "image": "../annot/valid.json"}]))
    with pytest.raises(DatasetError, match=r"1 of 1 pictures are not in .*images, first '\.\./annot/valid\.json'"):
        mpii(tmp_path, split="val")
    (tmp_path / "annot/valid.json").write_text(json.dumps([{**rows[0], "joints": [[1, 2]]}]))
    with pytest.raises(DatasetError, match=r"1 of 1 people are faulty: row 0, joints: .* is no list of 16x2 numbers"):
        mpii(tmp_path, split="val")


@pytest.mark.slow
@pytest.mark.needs_shared
def test_real_people(shared: Path) -> None:
    for folder, people in (("coco_train", 4386), ("coco_val", 584), ("lsp_train", 1000), ("lspet_train", 3000)):
        dataset = coco(shared / "data" / folder)
        assert isinstance(dataset, KeypointDataset)
        assert len(dataset) == people
        assert dataset.skeleton is coco17
