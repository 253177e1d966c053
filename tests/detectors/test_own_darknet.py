"""Darknet networks of one's own: cfg, weights and names from Python and from the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hrkit import Pipeline
from hrkit.cli import main
from hrkit.detectors.darknet import DarknetNetwork, _in_file_order
from hrkit.detectors.darknet_cfg import read_cfg
from hrkit.detectors.yolov3 import yolov3
from hrkit.errors import HrkitError, WeightsError
from hrkit.images import write_image

CFG = """[net]
width={width}
height={height}
channels=3
[convolutional]
filters=8
size=3
stride=32
pad=1
activation=leaky
[convolutional]
filters={filters}
size=1
stride=1
activation=linear
[yolo]
anchors = 10,20
classes={classes}
num=1
"""


def make_cfg(folder: Path, classes: int = 1, width: int = 96, height: int = 64) -> Path:
    file = folder / "mine.cfg"
    file.write_text(CFG.format(classes=classes, filters=5 + classes, width=width, height=height))
    return file


def make_weights(cfg: Path) -> Path:
    """Random weights in Darknet's format."""
    torch.manual_seed(0)
    tensors = [tensor.detach().normal_().numpy().ravel() for tensor in _in_file_order(DarknetNetwork(read_cfg(cfg)))]
    file = cfg.with_suffix(".weights")
    file.write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes() + np.concatenate(tensors).astype("<f4").tobytes())
    return file


@pytest.mark.parametrize(("width", "height"), [(96, 64), (32, 160), (64, 64)])
def test_the_size_of_the_cfg_counts(tmp_path: Path, width: int, height: int) -> None:
    cfg = make_cfg(tmp_path, width=width, height=height)
    detector = yolov3(weights=make_weights(cfg), cfg=cfg, threshold=0)
    assert detector.size == (height, width)
    frame = np.random.default_rng(0).integers(0, 256, (90, 200, 3)).astype(np.uint8)
    (found,) = detector.detect([frame])
    assert 0 < len(found) <= width * height // 1024
    assert (found.xyxy >= 0).all()
    assert (found.xyxy <= np.array([200, 90, 200, 90])).all()
    fast = detector.prepared(torch.device("cpu"), "float32")
    np.testing.assert_allclose(fast.detect([frame])[0].xyxy, found.xyxy, atol=1e-2)
    assert yolov3(cfg=cfg, input_size=32).size == (32, 32)


def test_a_box_in_a_wide_input(tmp_path: Path) -> None:
    """A network whose weights are 0 finds a box of the anchor's size in the middle of each cell."""
    cfg = make_cfg(tmp_path, width=96, height=64)
    detector = yolov3(cfg=cfg, threshold=0.2, nms_threshold=1)
    with torch.no_grad():
        for tensor in detector.network.parameters():
            tensor.zero_()
    (found,) = detector.detect([np.zeros((128, 192, 3), np.uint8)])  # twice the size of the input
    centers = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2
    assert sorted(map(tuple, centers.tolist())) == [(x, y) for x in (32, 96, 160) for y in (32, 96)]
    np.testing.assert_allclose(found.xyxy[:, 2:] - found.xyxy[:, :2], [[20, 40]] * 6, atol=1e-4)


def test_names(tmp_path: Path) -> None:
    one, three = make_cfg(tmp_path), None
    assert yolov3(cfg=one).class_ids.tolist() == [0]
    (tmp_path / "one.names").write_text("player\n")
    assert yolov3(cfg=one, class_names=tmp_path / "one.names").class_ids.tolist() == [0]
    three = make_cfg(tmp_path, classes=3)
    with pytest.raises(HrkitError, match="the network has 3 classes without names, none of them a person; name them"):
        yolov3(cfg=three)
    (tmp_path / "b.names").write_bytes("\ufeffdog\nPerson\nvélo\n".encode("utf-8"))
    assert yolov3(cfg=three, class_names=tmp_path / "b.names").class_ids.tolist() == [1]
    (tmp_path / "c.names").write_bytes("vélo\nchien\nchat\n".encode("latin-1"))
    with pytest.raises(HrkitError, match=r"3 classes called .*chien, chat, none of them a person; choose some"):
        yolov3(cfg=three, class_names=tmp_path / "c.names")
    assert yolov3(cfg=three, class_names=tmp_path / "c.names", classes="chien").class_ids.tolist() == [1]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_marks_and_comments(tmp_path: Path, mark: bytes, encoding: str) -> None:
    cfg = make_cfg(tmp_path)
    cfg.write_bytes(mark + ("# détecteur\r\n" + cfg.read_text() + "; für alle\n").encode(encoding))
    assert yolov3(cfg=cfg).size == (64, 96)


@pytest.mark.parametrize("layer", ["crnn", "sam", "scale_channels", "avgpool", "Gaussian_yolo", "reorg3d", "connected"])
def test_layers_that_hrkit_has_not(tmp_path: Path, layer: str) -> None:
    cfg = make_cfg(tmp_path)
    cfg.write_text(cfg.read_text().replace("[yolo]", f"[{layer}]\nfrom=-1\n[yolo]"))
    with pytest.raises(HrkitError, match=rf"cfg line 16, section 2 \[{layer}\]: unknown section; known: convolutional"):
        yolov3(cfg=cfg)


def test_grey_networks_are_refused(tmp_path: Path) -> None:
    cfg = make_cfg(tmp_path)
    cfg.write_text(cfg.read_text().replace("channels=3", "channels=1"))
    with pytest.raises(HrkitError, match=r"mine\.cfg: the network sees 1 channels, not RGB"):
        yolov3(cfg=cfg)


@pytest.mark.slow
def test_from_names_and_from_the_commands(tmp_path: Path) -> None:
    cfg = make_cfg(tmp_path)
    weights = make_weights(cfg)
    write_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (90, 200, 3)).astype(np.uint8))
    own = {"detector_cfg": cfg, "detector_weights": weights, "detector_names": ["player"]}
    pipeline = Pipeline.from_names("synthetic", weights=None, detection_threshold=0.1, **own)
    assert pipeline.detector is not None
    found = pipeline(tmp_path / "a.png")
    assert len(found) > 0
    (tmp_path / "mine.names").write_text("player\n")
    options = ["--backbone", "synthetic", "--weights", "none", "--detector", "yolov3", "--threshold", "0.1"]
    files = ["--detector-cfg", cfg, "--detector-weights", weights, "--detector-names", tmp_path / "mine.names"]
    where = ["--image", tmp_path / "a.png", "--json", "--output", tmp_path / "out"]
    result = CliRunner().invoke(main, ["demo", *options, *map(str, files), *map(str, where)])
    assert result.exit_code == 0, result.output
    (drawn,) = (tmp_path / "out").glob("*.json")
    assert len(json.loads(drawn.read_text())["people"]) == len(found)
    with pytest.raises(HrkitError, match=r"mine\.cfg: name the weights of this network too"):
        Pipeline.from_names("synthetic", weights=None, detector_cfg=cfg)
    with pytest.raises(WeightsError, match="is cut short: expected"):
        Pipeline.from_names(
            "synthetic",
            weights=None,
            **{**own, "detector_names": None, "detector_cfg": make_cfg(tmp_path, width=32, classes=80)},
        )
