"""The cfg language, Darknet networks and weights files."""

import contextlib
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hrkit.detectors
from hrkit.detectors.darknet import (
    ACTIVATIONS,
    Convolution,
    DarknetNetwork,
    MaxPool,
    fold_batch_norm,
    load_darknet_weights,
)
from hrkit.detectors.darknet_cfg import SECTIONS, parse_cfg, read_cfg
from hrkit.errors import HrkitError, WeightsError

CFGS = Path(hrkit.detectors.__file__).with_name("cfg")
TINY = """
[net]            # everything that is no layer is training's
learning_rate = 0.001
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=8
size=1
activation=mish
[shortcut]
from=-2
activation=swish
[route]
layers=-1
groups=2
group_id=1
[upsample]
stride=2
[maxpool]
size=2
stride=2
[route]
layers=-1, 2
[maxpool]
size=5
stride=1
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=1,0
anchors= 10,20,  30,40
classes=2
num=2
jitter=.3
"""


def network(text: str = TINY) -> DarknetNetwork:
    torch.manual_seed(0)
    return DarknetNetwork(parse_cfg(text)).eval()


def seeded_weights(net: DarknetNetwork) -> bytes:
    """The Darknet file that shared/reference/README.md describes."""
    parts = [np.array([0, 2, 5, 0, 0], "<i4").tobytes()]
    convolutions = (layer for layer in net.layers if isinstance(layer, Convolution))
    for i, layer in enumerate(convolutions):
        normalised = isinstance(layer.norm, nn.BatchNorm2d)
        for part in ("bias", "scale", "mean", "var", "weight") if normalised else ("bias", "weight"):
            shape = tuple(layer.conv.weight.shape) if part == "weight" else (layer.conv.out_channels,)
            r = np.random.RandomState(zlib.crc32(f"{i}.{part}".encode()))
            if part == "var":
                values = 0.5 + r.rand(*shape)
            elif part == "scale":
                values = 0.8 + 0.1 * r.randn(*shape)
            elif part == "weight":
                values = r.randn(*shape) * np.sqrt(1 / np.prod(shape[1:]))
            else:
                values = 0.1 * r.randn(*shape)
            parts.append(values.astype("<f4").tobytes())
    return b"".join(parts)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.weights"
    path.write_bytes(seeded_weights(network()))
    return path


@pytest.mark.slow
@pytest.mark.needs_shared
def test_seeded_yolov3_is_darknets(shared: Path, tmp_path: Path) -> None:
    reference = np.load(shared / "reference" / "yolov3_seeded_416.npz")
    net = DarknetNetwork(read_cfg(CFGS / "yolov3.cfg")).eval()
    data = seeded_weights(net)
    assert zlib.crc32(data) == reference["weights_crc32"]
    assert sum(isinstance(layer, Convolution) for layer in net.layers) == reference["convolutions"]
    path = tmp_path / "seeded.weights"
    path.write_bytes(data)
    load_darknet_weights(net, path)
    images = torch.from_numpy(np.random.RandomState(7).rand(1, 3, 416, 416).astype(np.float32))
    wanted = reference["predictions"]
    for fold in (False, True):
        if fold:
            fold_batch_norm(net)
        with torch.inference_mode():
            predictions = net(images).numpy()
        assert predictions.shape == (1, reference["total_rows"], 85)
        got = predictions[:, :: int(reference["row_step"])]
        assert np.linalg.norm(got - wanted) <= 1e-4 * np.linalg.norm(wanted)


def test_sections() -> None:
    sections = parse_cfg(TINY)
    assert [section.number for section in sections] == list(range(-1, 10))
    assert sections[0].name == "net"
    assert sections[0].options == {"learning_rate": "0.001"}
    assert sections[1].line == 4
    assert sections[-1].numbers("mask", int) == [1, 0]
    assert sections[-1].numbers("anchors", float) == [10, 20, 30, 40]
    assert parse_cfg(TINY.replace("\n", "\r\n")) == sections


def test_the_first_of_two_equal_keys_counts() -> None:
    assert parse_cfg("[net]\nchannels=1\nchannels=3")[0].integer("channels") == 1


def test_predictions_are_what_the_last_convolution_says() -> None:
    net = network()
    raw: list[torch.Tensor] = []
    net.layers[8].register_forward_hook(lambda module, inputs, output: raw.append(output))
    with torch.inference_mode():
        predictions = net(torch.rand(2, 3, 8, 12))
    n, _, h, w = raw[0].shape
    logits = raw[0].numpy().reshape(n, 2, 7, h, w).astype(np.float64)
    assert predictions.shape == (2, 2 * 4 * 6, 7)
    sigmoid = 1 / (1 + np.exp(-logits))
    expected = []  # written as loops, to be read beside Darknet's get_yolo_box
    for image in range(n):
        for anchor, (width, height) in enumerate([(30, 40), (10, 20)]):
            for row in range(h):
                for column in range(w):
                    t, s = logits[image, anchor, :, row, column], sigmoid[image, anchor, :, row, column]
                    x, y = (s[0] + column) * 2, (s[1] + row) * 2
                    expected.append([x, y, np.exp(t[2]) * width, np.exp(t[3]) * height, *s[4:]])
    np.testing.assert_allclose(predictions.reshape(-1, 7), expected, rtol=1e-5)


def test_yolov4_coordinates() -> None:
    plain, scaled = network(), network(TINY.replace("num=2", "num=2\nscale_x_y=1.2"))
    scaled.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 4, 4)
    with torch.inference_mode():
        one, two = plain(images), scaled(images)
    cells = one[..., :2].div(2).floor()
    torch.testing.assert_close(two[..., :2], (cells + (one[..., :2] / 2 - cells) * 1.2 - 0.1) * 2)
    torch.testing.assert_close(two[..., 2:], one[..., 2:])
    new = network(TINY.replace("num=2", "num=2\nnew_coords=1").replace("activation=linear", "activation=logistic"))
    new.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        three = new(images)
        logits = torch.log(one[..., 2:4] / torch.tensor([[30.0, 40.0]] * 4 + [[10.0, 20.0]] * 4))
    torch.testing.assert_close(three[..., [0, 1, 4, 5, 6]], one[..., [0, 1, 4, 5, 6]])
    anchors = torch.tensor([[30.0, 40.0]] * 4 + [[10.0, 20.0]] * 4)
    torch.testing.assert_close(three[..., 2:4], (2 * logits.sigmoid()) ** 2 * anchors)


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (2, 2), (3, 1), (3, 2), (4, 2), (4, 4), (5, 1), (13, 1)])
def test_pooling_is_darknets(size: int, stride: int) -> None:
    images = -torch.rand(1, 2, 8, 8)
    pooled = MaxPool(size, stride)(images)
    assert pooled.shape == (1, 2, 8 // stride, 8 // stride)
    offset = (size - 1) // 2  # forward_maxpool_layer starts each window at i * stride - padding / 2
    for row in range(8 // stride):
        top = row * stride - offset
        window = images[:, :, max(top, 0) : top + size, max(-offset, 0) : size - offset]
        torch.testing.assert_close(pooled[:, :, row, 0], window.amax((2, 3)))


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_activation_runs(activation: str) -> None:
    predictions = network(TINY.replace("leaky", activation))(torch.rand(1, 3, 8, 8))
    assert predictions.isfinite().all()


def test_folding_changes_nothing(weights: Path) -> None:
    net = network()
    load_darknet_weights(net, weights)
    images = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        before = net(images)
        fold_batch_norm(net)
        torch.testing.assert_close(net(images), before, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_half_precision_keeps_the_anchors() -> None:
    net = network(TINY.replace("30,40", "319,344")).to(torch.bfloat16)
    predictions = net(torch.rand(1, 3, 8, 8).bfloat16())
    assert predictions.dtype == torch.float32
    assert (net.layers[9].anchors[0].flatten() / 1024).tolist() == [319, 344]


@pytest.mark.slow
def test_the_network_can_be_exported() -> None:
    net, images = network(), torch.rand(1, 3, 8, 8)
    exported = torch.export.export(net, (images,)).module()
    torch.testing.assert_close(exported(images), net(images))


def test_no_images() -> None:
    assert network()(torch.zeros(0, 3, 8, 8)).shape == (0, 32, 7)


@pytest.mark.parametrize("size", [(9, 8), (8, 9), (1, 1), (0, 8)])
def test_a_size_that_does_not_fit_is_said(size: tuple[int, int]) -> None:
    with pytest.raises(HrkitError, match=f"input of {size[1]}x{size[0]} px; .* multiples of 2"):
        network()(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[shortcut]", "[lstm]", r"line 15, section 2 \[lstm\]: unknown section"),
        ("filters=8", "filters=many", r"line 4, section 0 \[convolutional\]: filters='many' must be whole numbers"),
        ("filters=8", "filters=0", "filters='0' must be one whole number from 1 to 65536"),
        ("filters=8", "filters=8,8", "must be one whole number"),
        ("filters=8", "filters=__import__('os')", "must be whole numbers"),
        ("filters=8", "filtres=8", "unknown key 'filtres'"),
        ("leaky", "selu", r"section 0 \[convolutional\]: unknown activation 'selu'"),
        ("pad=1", "pad=0", "does not keep the grid; set pad=1"),
        ("from=-2", "from=-9", r"line 15, section 2 \[shortcut\]: -9 names no earlier layer"),
        ("from=-2", "from=2", "2 names no earlier layer"),
        ("from=-2", "", "from is missing"),
        ("layers=-1, 2", "layers=-1, 4", r"section 6 \[route\]: layers=-1, 4 differ in height and width"),
        ("groups=2", "groups=3", "cannot be cut into 3 groups"),
        ("group_id=1", "group_id=2", "group_id='2' must be one whole number from 0 to 1"),
        ("[upsample]\nstride=2", "[upsample]\nstride=4", "finer than the input"),
        ("size=5\n", "size=5\npadding=1\n", "padding must be size - 1"),
        ("filters=14", "filters=15", "2 anchors of 2 classes take 14 filters, the layer before has 15"),
        ("mask=1,0", "mask=1,2", "names an anchor that is not there"),
        ("num=2", "num=3", "anchors must be num pairs"),
        ("30,40", "30,nan", "must be finite numbers"),
        ("30,40", "30,-40", "anchors must be num pairs of widths and heights above 0"),
        ("30,40", "30,forty", "must be finite numbers"),
        ("classes=2", "", "classes is missing"),
        ("classes=2", "classes=2\nscale_x_y=1,2", "must be one number"),
        ("jitter=.3", "jitter=.3\n[maxpool]\nsize=2\nstride=2", "only .route. may follow it"),
        ("jitter=.3", "jitter", r"line 41: wanted a \[section\], then lines"),
        ("[net] ", "size=3 ", "line 2: wanted a"),
        ("[net] ", "[convolutional] ", "begins with the section .net."),
        ("learning_rate = 0.001", "channels=-3", r"section -1 \[net\]: channels='-3'"),
    ],
)
def test_a_bad_cfg_is_named_by_its_line(old: str, new: str, message: str) -> None:
    with pytest.raises(HrkitError, match=message) as caught:
        network(TINY.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_a_cfg_without_yolo() -> None:
    with pytest.raises(HrkitError, match=r"no \[yolo\] section"):
        network("[net]\n[convolutional]\nfilters=3")


def test_scales_must_agree_on_their_classes() -> None:
    more = "[route]\nlayers=7\n[convolutional]\nfilters=16\nactivation=linear\n[yolo]\nanchors=1,1,2,2\nclasses=3\n"
    with pytest.raises(HrkitError, match="classes differ from the 2 of section 9"):
        network(TINY + more)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"<!DOCTYPE html>\n<html></html>"])
def test_what_is_no_cfg(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.cfg"
    path.write_bytes(content)
    with pytest.raises(HrkitError, match="cfg"):
        read_cfg(path)
    with pytest.raises(HrkitError, match=r"cannot read the cfg .*nowhere\.cfg"):
        read_cfg(tmp_path / "nowhere.cfg")


LINES = st.one_of(
    st.text(max_size=30),
    st.sampled_from([f"[{name}]" for name in ("net", *SECTIONS)]),
    st.builds(
        "{}={}".format,
        st.sampled_from(["filters", "size", "stride", "pad", "layers", "from", "mask", "anchors", "classes", "groups"]),
        st.one_of(st.integers(-3, 6).map(str), st.text("0123456789,.-e ", max_size=8)),
    ),
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=25))
def test_no_text_breaks_the_parser(lines: list[str]) -> None:
    text = "\n".join(["[net]", *lines])
    # on the meta device, whatever size the text asks for
    with contextlib.suppress(HrkitError), torch.device("meta"):
        DarknetNetwork(parse_cfg(text))


KEYS = st.text("abcdefgh_", min_size=1, max_size=8)
VALUES = st.text("0123456789,.-", max_size=10)


@given(st.lists(st.tuples(st.sampled_from(SECTIONS), st.dictionaries(KEYS, VALUES, max_size=4)), max_size=6))
def test_what_is_written_is_read(sections: list[tuple[str, dict[str, str]]]) -> None:
    text = "[net]\n" + "".join(
        f" [{name}] # layer\n\n" + "".join(f"  {key} = {value}  ; note\n" for key, value in options.items())
        for name, options in sections
    )
    parsed = parse_cfg(text)[1:]
    assert [(section.name, section.options) for section in parsed] == sections
    lines = text.splitlines()
    assert [lines[section.line - 1].strip() for section in parsed] == [f"[{name}] # layer" for name, _ in sections]


@pytest.mark.parametrize(("version", "header"), [((0, 2), 20), ((0, 1), 16), ((1, 0), 20)])
def test_weights_of_every_version(weights: Path, version: tuple[int, int], header: int) -> None:
    data = np.array(version, "<i4").tobytes() + bytes(header - 8) + weights.read_bytes()[20:]
    net = network()
    load_darknet_weights(net, weights)
    wanted = net.state_dict()
    weights.write_bytes(data)
    again = network()
    load_darknet_weights(again, weights)
    assert all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], r"is cut short: expected {size} bytes for this network, found {found}; download"),
        (lambda data: data[:5], "is cut short: expected {size} bytes for this network, found 5"),
        (lambda data: b"", "is cut short: expected {size} bytes for this network, found 0"),
        (lambda data: data + b"1234", "is too long: expected {size} bytes for this network, found {found}"),
        (lambda data: b"\n<!DOCTYPE html><html>sign in</html>", r"is a web page, not Darknet weights \(36 bytes\)"),
        (lambda data: b"PK\x03\x04" + data[4:], "is not a Darknet weights file"),
    ],
)
def test_a_file_that_does_not_fit(weights: Path, change: Callable[[bytes], bytes], message: str) -> None:
    data = weights.read_bytes()
    changed = change(data)
    weights.write_bytes(changed)
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(WeightsError, match=message.format(size=len(data), found=len(changed))) as caught:
        load_darknet_weights(net, weights)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.weights", tmp_path):
        with pytest.raises(WeightsError, match=f"cannot read the weights {path}: "):
            load_darknet_weights(network(), os.fspath(path))
