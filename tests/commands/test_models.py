import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from hrkit import registry
from hrkit.commands.models import command
from hrkit.errors import UnknownNameError, WeightsError
from hrkit.hookspecs import hookimpl
from hrkit.weights import catalogue


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    return tmp_path


def lines(*arguments):
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0
    return [line.split() for line in result.stdout.splitlines()]


def test_lists_every_entry():
    assert [line[0] for line in lines()] == ["name", *(entry.name for entry in catalogue.entries())]


def test_a_row(cache):
    (cache / "hrnet_w48-coco-384x288.pth").write_bytes(b"weights")
    found = {line[0]: line[1:] for line in lines("hrnet_w48")}
    expected = ["hrnet_w48", "384x288", "17", "msra", "AP", "76.7", "Apache-2.0", "yes", "yes"]
    assert found["hrnet_w48-coco-384x288"] == expected
    expected = ["hrnet_w48", "256x256", "16", "dark", "PCKh", "90.5", "Apache-2.0", "no"]
    assert found["hrnet_w48-mpii-256x256-dark"] == expected
    assert "hrnet_w32-coco-256x192" not in found


def test_detectors_have_neither_joints_nor_codec():
    found = lines("detector")
    assert ["yolov3", "yolov3", "416x416", "MIT", "or", "WTFPL", "248", "MB", "no", "yes"] in found


def test_carried(tmp_path):
    (tmp_path / "carried.pth").write_bytes(bytes(1_600_000))
    metrics = {"loss": 0.1, "AP (own split)": 0.437, "AP": 0.9}
    entry = catalogue.WeightsEntry(
        "carried-by-a-test", "a_model", file=tmp_path / "carried.pth", licence="MIT", metrics=metrics
    )
    registry.plugins.register(SimpleNamespace(register_weights=hookimpl(lambda: [entry])), "a-test")
    try:
        expected = ["carried-by-a-test", "a_model", "256x192", "17", "msra", "AP", "(own", "split)", "43.7", "MIT"]
        assert lines("carried-by")[1] == [*expected, "2", "MB", "carried"]
        assert json.loads(CliRunner().invoke(command, ["--json", "carried-by"]).stdout)[0]["cached"] is True
    finally:
        registry.plugins.unregister("a-test")


def test_a_detector_for_frames_of_any_size():
    address = "https://example.org/any.pth"
    entry = catalogue.WeightsEntry("any-size", "a_model", kind="detector", url=address, licence="MIT")
    registry.plugins.register(SimpleNamespace(register_weights=hookimpl(lambda: [entry])), "a-test")
    try:
        assert lines("any-size")[1] == ["any-size", "a_model", "-", "MIT", "no"]
    finally:
        registry.plugins.unregister("a-test")


def test_a_file_of_another_size_is_not_what_is_published(cache):
    (cache / "yolov3_tiny.weights").write_bytes(b"garbage")
    assert lines("yolov3_tiny")[1][-2:] == ["no", "yes"]  # not cached, default


def test_json():
    (found,) = json.loads(CliRunner().invoke(command, ["--json", "YOLOv3_tiny"]).stdout)
    assert found["name"] == "yolov3_tiny"
    assert found["kind"] == "detector"
    assert found["size"] == 35_434_956
    assert found["cached"] is False
    assert json.loads(CliRunner().invoke(command, ["--json", "no such weights"]).stdout) == []


def test_joints():
    names = [line[0] for line in lines("--skeleton", "coco_wholebody133")[1:]]
    assert "hrnet_w48-coco_wholebody-384x288-dark" in names
    found = [catalogue.find(name) for name in names]
    assert {(made.kind, made.num_joints) for made in found} == {("pose", 133)}
    hands = lines("--joints", "21", "onehand10k")[1:]
    assert ["pose_resnet_50-onehand10k-256x256", "pose_resnet_50", "256x256", "21", "msra", "PCK@0.2"] in [
        hand[:6] for hand in hands
    ]
    assert all("onehand10k" in hand[0] for hand in hands)
    assert [line[0] for line in lines("--skeleton", "coco", "hrnet_w32-humanart")[1:]] == ["hrnet_w32-humanart-256x192"]
    with pytest.raises(UnknownNameError, match="coco_wholebody"):
        CliRunner().invoke(command, ["--skeleton", "coco_wholebdy"], standalone_mode=False, catch_exceptions=False)


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        ({"AUC": 0.9, "EPE": 2.27, "PCK@0.2": 0.99}, ["PCK@0.2", "99.0"]),
        ({"NME": 0.0406}, ["NME", "4.1"]),
        ({"EPE": 2.27}, ["EPE", "2.3"]),
        ({"AR": 0.8, "AP": 0.7}, ["AP", "70.0"]),
        ({}, []),
    ],
)
def test_the_figure(metrics, shown):
    address = "https://example.org/a.pth"
    entry = catalogue.WeightsEntry("of-a-test", "a_model", url=address, licence="MIT", metrics=metrics)
    registry.plugins.register(SimpleNamespace(register_weights=hookimpl(lambda: [entry])), "a-test")
    try:
        assert lines("of-a-test")[1] == ["of-a-test", "a_model", "256x192", "17", "msra", *shown, "MIT", "no"]
    finally:
        registry.plugins.unregister("a-test")


def test_nothing_found():
    result = CliRunner().invoke(command, ["no such weights"])
    assert isinstance(result.exception, WeightsError)


def test_help_has_an_example():
    assert "hrkit models hrnet_w48" in CliRunner().invoke(command, ["--help"]).stdout
