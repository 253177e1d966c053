"""The kinds of hostile input."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import json
import os
import pickle
import socket
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image
import safetensors.torch
import torch
from click.testing import CliRunner
from torch import nn

from campaign import Damage, Kind, Random, damage_bytes, damage_json, damage_lines, damage_text, damage_value
from hrkit.cli import main
from hrkit.datasets.coco import coco
from hrkit.datasets.custom import custom
from hrkit.datasets.mpii import mpii
from hrkit.detectors.darknet import DarknetNetwork, load_darknet_weights
from hrkit.detectors.darknet_cfg import parse_cfg, read_cfg
from hrkit.evaluation.detected_boxes import read_detections
from hrkit.extraction.formats import write_keypoints
from hrkit.extraction.manifest import Manifest, Result, manifest_path
from hrkit.extraction.part_file import PartFile, read_part
from hrkit.images import read_image, write_image
from hrkit.pipeline import Pipeline
from hrkit.pose_model import create_pose_model
from hrkit.runtimes.conversion import to_openvino
from hrkit.runtimes.exported import build_onnx, build_openvino
from hrkit.skeletons import coco17
from hrkit.structures import Detections, Poses
from hrkit.training.config import TrainConfig, load_config
from hrkit.video.cameras import open_source
from hrkit.weights import checkpoints, hub
from hub_stub import Hub
from made_coco import make_coco
from made_videos import make_video
from painted import one_person

Stack = contextlib.ExitStack
Files = dict[str, bytes]


class _Payload:
    """What a pickle does that is executed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo executed > ../outside/executed",)


# pictures and videos


def _pictures(folder: Path, stack: Stack) -> Files:
    picture = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8))
    found = {}
    for ending in ("jpg", "png", "webp", "tif", "bmp", "gif", "ppm"):
        file = io.BytesIO()
        picture.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(ending, ending.upper()))
        found[f"a.{ending}"] = file.getvalue()
    return found


def _videos(folder: Path, stack: Stack) -> Files:
    kinds = (("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mjpeg"), ("a.ts", "mpeg2video"))
    return {name: make_video(folder / name, 6, codec=codec).read_bytes() for name, codec in kinds}


def _read_video(path: Path) -> None:
    with open_source(str(path)) as source:
        for _ in zip(source, range(50)):  # noqa: B905
            pass


# networks


@functools.cache
def _network() -> Any:
    return create_pose_model("timm/test_resnet", input_size=(64, 64))


def _weights(folder: Path, stack: Stack) -> Files:
    network = _network()
    network.save(folder / "a.safetensors")
    state = {name: tensor for name, tensor in network.state_dict().items() if tensor.numel() < 100}
    torch.save(state, folder / "a.pth")
    torch.save({"state_dict": state, "meta": {"dataset_meta": {"keypoint_id2name": {0: "nose"}}}}, folder / "b.pth")
    torch.save({"state_dict": _Payload()}, folder / "c.pth")
    flat = {name: tensor.sum() for name, tensor in network.state_dict().items()}
    odd = {name: tensor.to_sparse() if tensor.ndim == 1 else tensor.bool() for name, tensor in state.items()}
    for name, content in (("f.pth", flat), ("g.pth", {**network.state_dict(), **odd}), ("h.pth", torch.zeros(()))):
        torch.save(content, folder / name)
    kept = ("a.safetensors", *(f"{letter}.pth" for letter in "abcfgh"))
    bare = {"d.pth": pickle.dumps(_Payload()), "e.safetensors": safetensors.torch.save(state)}
    return {**{name: (folder / name).read_bytes() for name in kept}, **bare}


def _read_weights(path: Path) -> Any:
    checkpoint = checkpoints.read_checkpoint(path)
    checkpoint.describe()
    checkpoints.load(_network(), checkpoint, "a network")
    return dict(_network().state_dict())


CFG = """[net]
width=32
height=32
channels=3

[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky

[maxpool]
size=2
stride=2

[convolutional]
filters=18
size=1
stride=1
activation=linear

[yolo]
mask=0,1,2
anchors=1,2, 3,4, 5,6
classes=1
num=3

[route]
layers=-3

[upsample]
stride=2
"""


def _read_cfg(path: Path) -> Any:
    network = DarknetNetwork(read_cfg(path)).eval()
    with torch.inference_mode():
        return network(torch.zeros(1, 3, 32, 32)) if sum(p.numel() for p in network.parameters()) < 10**6 else None


def _darknet_weights(folder: Path, stack: Stack) -> Files:
    count = sum(tensor.numel() for tensor in DarknetNetwork(parse_cfg(CFG)).state_dict().values()) - 1
    header = np.array([0, 2, 0, 0, 0], "<i4").tobytes()
    return {"a.weights": header + np.full(count, 0.5, "<f4").tobytes()}


def _read_darknet(path: Path) -> Any:
    network = DarknetNetwork(parse_cfg(CFG))
    load_darknet_weights(network, path)
    return dict(network.state_dict())


def _onnx(folder: Path, stack: Stack) -> Files:
    import onnx
    from onnx import TensorProto, helper

    shapes = {"images": ["n", 3, 8, 8], "out": ["n", 2, 8, 8]}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    weight = helper.make_tensor("w", TensorProto.FLOAT, (2, 3, 1, 1), [0.5] * 6)
    node = helper.make_node("Conv", ["images", "w"], ["out"])
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = {"a.onnx": model.SerializeToString()}
    (folder.parent / "outside" / "x").write_text("untouched")
    external = onnx.ModelProto.FromString(found["a.onnx"]).graph.initializer[0]
    external.ClearField("float_data")
    external.data_location = TensorProto.EXTERNAL
    external.external_data.add(key="location", value="../outside/x")
    model.graph.initializer[0].CopyFrom(external)
    return {**found, "b.onnx": model.SerializeToString()}


def _openvino(folder: Path, stack: Stack) -> Files:
    import openvino

    torch.manual_seed(0)
    openvino.save_model(to_openvino(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 8, 8)), folder / "a.xml")
    return {name: (folder / name).read_bytes() for name in ("a.xml", "a.bin")}


def _damage_openvino(content: bytes, rng: Random) -> bytes:
    return (damage_text if content.startswith(b"<?xml") else damage_bytes)(content, rng)


def _read_exported(path: Path) -> Any:
    file, build = (path, build_onnx) if path.suffix == ".onnx" else (path.with_suffix(".xml"), build_openvino)
    example = torch.zeros(1, 3, 8, 8)
    return build(str(file), network=nn.Conv2d(3, 2, 1), example=example)(example).shape


# annotations and settings


def _coco(folder: Path, stack: Stack) -> Files:
    return {"person_keypoints_made.json": make_coco(folder, pictures=2, people=2).read_bytes()}


def _read_coco(path: Path) -> Any:
    return coco(path)


MPII = [
    {"image": "001.png", "center": [90.0, 99.5], "scale": 1.0, "joints": [[11, 21]] * 16, "joints_vis": [1] * 16},
    {"image": "002.png", "center": [50.0, 60.0], "scale": 0.5, "joints": [[0, 0]] * 16, "joints_vis": [0] * 16},
]


def _mpii(folder: Path, stack: Stack) -> Files:
    make_coco(folder, pictures=2)
    return {"annot/valid.json": json.dumps(MPII).encode()}


def _detections(folder: Path, stack: Stack) -> Files:
    _coco(folder, stack)
    rows = [{"image_id": 1 + n % 2, "category_id": 1, "bbox": [9, 9, 99.5, 50 + n], "score": n / 9} for n in range(9)]
    return {"detections.json": json.dumps(rows).encode()}


def _read_detections(path: Path) -> Any:
    return read_detections(path, coco("person_keypoints_made.json"))


CUSTOM = """name = "birds"
keypoints = ["beak", "left_eye", "right_eye", "left_wing", "right_wing"]
flip_pairs = [["left_eye", "right_eye"], ["left_wing", "right_wing"]]
edges = [["beak", "left_eye"], ["beak", "right_eye"]]
sigmas = [0.025, 0.05, 0.05, 0.1, 0.1]

[train]
annotations = "person_keypoints_made.json"
images = "images"
"""


def _custom(folder: Path, stack: Stack) -> Files:
    from hrkit.structures import Skeleton

    birds = Skeleton("birds", ["beak", "left_eye", "right_eye", "left_wing", "right_wing"], (), (), [0.05] * 5)
    make_coco(folder, pictures=1, people=1, skeleton=birds)
    return {"birds.toml": CUSTOM.encode()}


CONFIG = """datasets = ["coco:data*2", "mpii"]
output = "run"
backbone = "hrnet_w32"
input_size = [256, 192]
learning_rate = 1e-3
epochs = 210
milestones = [170, 200]
optimizer = "adam"
ema = 0.999
flip_test = true
joint_weights = [1, 1.5, 2.0]

[augmentation]
scale = 0.35
rotation = 45.0
flip = 0.5
half_body_joints = 8
"""


def _config(folder: Path, stack: Stack) -> Files:
    import tomllib

    return {"a.toml": CONFIG.encode(), "a.json": json.dumps(tomllib.loads(CONFIG)).encode()}


def _damage_config(content: bytes, rng: Random) -> bytes:
    return (damage_json if content.startswith(b"{") else damage_text)(content, rng)


# extraction

META = {"keypoint_names": list(coco17.keypoint_names), "source": "a.mp4", "fps": 25.0, "threshold": 0.4}


def _part(folder: Path, stack: Stack) -> Files:
    boxes = Detections(np.array([[0, 0, 50, 90], [9, 9, 60, 80]]), np.array([0.9, 0.5]), np.zeros(2, int))
    keypoints = np.random.default_rng(0).uniform(0, 90, (2, 17, 2))
    poses = Poses(keypoints, np.full((2, 17), 0.5), boxes, coco17)
    with PartFile.begin(folder / "good", META) as part:
        for frame in range(4):
            part.write_frame(frame, frame / 25, poses)
            if frame % 2:
                part.write_state(frame + 1, {"ids": [1, 2]})
    return {"a.part.jsonl": (folder / "good").read_bytes()}


def _read_part_file(path: Path) -> Any:
    content = path.read_bytes()
    meta, frames = read_part(path)
    found = list(frames)
    write_keypoints(path, path.with_name("a.json"))
    write_keypoints(path, path.with_name("a.csv"))
    with PartFile.resume(path, META) as part:
        kept = part.next_frame
    path.write_bytes(content)
    assert "NaN" not in path.with_name("a.json").read_text()
    return kept, meta, [frame.index for frame in found]


def _manifest(folder: Path, stack: Stack) -> Files:
    manifest_path(folder).parent.mkdir()
    with Manifest(folder, {"format": "csv"}) as manifest:
        for number in range(4):
            manifest.add(Result(f"a/{number}.jpg", "" if number % 2 else "no picture", number % 2, 1, 0.5))
    return {".hrkit/manifest.jsonl": manifest_path(folder).read_bytes()}


def _read_manifest(path: Path) -> Any:
    with Manifest(path.parent.parent, {"format": "csv"}) as manifest:
        manifest.add(Result("b.jpg", "reason"))
        assert all(isinstance(name, str) for name in [*manifest.done, *manifest.failed])


# servers


def _hub(folder: Path, stack: Stack) -> Files:
    server = stack.enter_context(Hub())
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    stack.callback(server.shutdown)
    environment = {"HF_ENDPOINT": server.url, "HF_TOKEN": server.token}
    stack.enter_context(mock.patch.dict(os.environ, environment))
    constants = {"HF_HUB_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": False}
    stack.enter_context(mock.patch.multiple("huggingface_hub.constants", **constants))
    stack.enter_context(mock.patch("huggingface_hub.utils.are_progress_bars_disabled", return_value=True))
    server.add("owner/name", model=b"weights")
    _hub.server = server  # type: ignore[attr-defined]
    sibling = {"rfilename": "model.safetensors", "size": 7, "blobId": "0" * 40}
    digest = "9b2e9bd4e4fa3d0b5fb6d4ef8df6a1c3eed3e4f0cdd0d9b8e8ef8c5e7d4b1a2f"
    answer = {"id": "owner/name", "sha": "1" * 40, "siblings": [{**sibling, "lfs": {"sha256": digest, "size": 7}}]}
    headers = {"ETag": f'"{digest}"', "X-Linked-ETag": digest, "X-Repo-Commit": "1" * 40, "X-Linked-Size": "7"}
    headers |= {"Content-Type": "application/octet-stream", "Content-Length": "7", "Location": "/x"}
    return {"answer.json": json.dumps({"stated": answer, "headers": headers}).encode()}


def _read_hub(path: Path) -> Any:
    server = _hub.server  # type: ignore[attr-defined]
    try:
        answer = json.loads(path.read_bytes())
    except (ValueError, RecursionError):  # then the Hub answers with just this
        answer = {}
    server.answer = None if isinstance(answer, dict) and answer else path.read_bytes()
    parts = [answer.get(name) if isinstance(answer, dict) else None for name in ("stated", "headers")]
    server.stated, headers = (part if isinstance(part, dict) else {} for part in parts)
    server.headers = {}
    for name, value in headers.items():
        if name.isascii() and name.isprintable() and ":" not in name and " " not in name and name:
            text = str(value).encode("latin-1", "replace").decode("latin-1")[:4000]
            server.headers[name] = text.replace("\r", " ").replace("\n", " ")
    return hub.fetch("hf-hub:owner/name").name


def _web(folder: Path, stack: Stack) -> Files:
    import asyncio

    import uvicorn
    from hrkit_web.gates.connections import server_config
    from hrkit_web.metrics import Metrics
    from hrkit_web.networks.batching import Batcher
    from hrkit_web.networks.models import Model, Models
    from hrkit_web.server import create_app
    from hrkit_web.settings import Limits, Settings

    stack.enter_context(mock.patch("tempfile.tempdir", str(folder)))
    pipeline = Pipeline.from_names("synthetic", "synthetic", weights=None, input_size=(128, 96))
    offered = {kind: [Model("synthetic", True, 1, "none")] for kind in ("backbones", "detectors")}
    metrics, limits = Metrics(), Limits(rate=1e6, head_seconds=0.2, pause_seconds=0.2)
    batcher = Batcher(metrics)
    models = Models(batcher, lambda *names: pipeline, ("synthetic", "synthetic"), lambda: offered)
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    server = uvicorn.Server(server_config(create_app(Settings(limits=limits), models, batcher, metrics), limits))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    stack.callback(thread.join, 30)
    stack.callback(setattr, server, "should_exit", True)
    while not server.started:
        pass
    _web.port = listening.getsockname()[1]  # type: ignore[attr-defined]
    head = f"Host: 127.0.0.1:{_web.port}\r\nConnection: close\r\n"  # type: ignore[attr-defined]
    form = '--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    file = io.BytesIO()
    PIL.Image.fromarray(one_person()).save(file, "PNG")
    body = form.encode() + file.getvalue() + b"\r\n--b--\r\n"
    upload = f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    video = body.replace(b'"image"', b'"video"')
    return {
        "photo": f"POST /v1/poses?threshold=0.5&format=csv HTTP/1.1\r\n{head}{upload}".encode() + body,
        "video": f"POST /v1/videos?detect_every=2 HTTP/1.1\r\n{head}{upload}".encode() + video,
        "models": f"GET /v1/models HTTP/1.1\r\n{head}\r\n".encode(),
        "result": f"GET /v1/results/abc/csv HTTP/1.1\r\n{head}\r\n".encode(),
        "page": f"GET /static/app.js HTTP/1.1\r\n{head}\r\n".encode(),
        "live": (
            f"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1:{_web.port}\r\nUpgrade: websocket\r\n"  # type: ignore[attr-defined]
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ).encode() + b"\x82\x05hello\x88\x00",
    }  # fmt: skip


def _ask_web(path: Path) -> None:
    with socket.create_connection(("127.0.0.1", _web.port), timeout=20) as connection:  # type: ignore[attr-defined]
        got = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(path.read_bytes())
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                got += part
    head, _, body = got.partition(b"\r\n\r\n")
    assert not head.startswith(b"HTTP/1.1 500"), got[:200]
    assert b"json" not in head or b"NaN" not in body or b" 200 " not in head, got[:2000]
    assert b"Traceback" not in got
    assert b"root:" not in got


def _damage_request(content: bytes, rng: Random) -> bytes:
    head, gap, body = content.partition(b"\r\n\r\n")
    if body and rng.random() < 0.5:
        return head + gap + damage_bytes(body, rng)
    return damage_text(head, rng).replace(b"\n", b"\r\n").replace(b"\r\r", b"\r") + gap + body


# command lines

SYNTHETIC = "--backbone synthetic --weights none --device cpu"
LINES = {
    "demo": f"demo {SYNTHETIC} --detector synthetic --image a.png --threshold 0.5 --max-people 3 --output out",
    "video": f"demo {SYNTHETIC} --detector synthetic --video frames --smoothing 1 --detect-every 2 --output a.mp4",
    "extract": f"extract {SYNTHETIC} --detector synthetic frames -o a.csv --overwrite --max-frames 3 --format csv",
    "several": f"extract {SYNTHETIC} --detector synthetic a.png frames -o out2 --overwrite --engine local --workers 1",
    "train": "train --dataset coco:nowhere --output run --backbone lite --epochs 3 --learning-rate 0.1 --scale 0.2 "
    "--milestones 1,2 --ema 0.9 --input-size 64 64 --precision float32 --optimizer adam --seed 1 --workers 0",
    "test": f"test {SYNTHETIC} --dataset coco:nowhere --boxes gt --box-threshold 0.1 --score-threshold 0.2 --nms oks "
    "--batch-size 3 --workers 0 --output out --split val --input-size 64 64 --decoder dark",
    "browse": "browse --dataset coco:data --count 1 --input-size 64 64 --codec msra --sigma 2 --seed 1 --output b.jpg",
    "browse 2": "browse --config a.toml --count 1 --output c.jpg",
    "info": "info timm/test_resnet --input-size 64 64 --joints 5",
    "models": "models lite --json",
    "plugins": "plugins new hrkit-something --kind detector --output made",
    "export": "export lite --weights missing.pth -o a.onnx --input-size 64 64 --num-joints 17 --format onnx",
    "publish": "publish run --to published --licence mit --report report",
    "download": "download nothing hf-hub:owner",
}


def _lines(folder: Path, stack: Stack) -> Files:
    stack.enter_context(mock.patch.dict(os.environ, {"HF_ENDPOINT": "http://127.0.0.1:9", "HRKIT_HOME": str(folder)}))
    write_image(folder / "a.png", one_person())
    write_image(folder / "frames/1.png", one_person())
    write_image(folder / "frames/2.png", one_person())
    make_coco(folder / "data", pictures=1, people=1)
    (folder / "a.toml").write_text('datasets = ["coco:data"]\ninput_size = [64, 64]\ncodec = "dark"\n')
    return {name: json.dumps(line.split()).encode() for name, line in LINES.items()}


def _damage_line(content: bytes, rng: Random) -> bytes:
    command, *arguments = json.loads(content)
    damaged = damage_value(arguments, rng)
    words = damaged if isinstance(damaged, list) else [damaged]
    allowed = (str(word).replace("\0", "").replace("/etc/", "etc/").replace("../", "") for word in words)
    return json.dumps([command, *allowed]).encode()


def _run_line(path: Path) -> None:
    arguments = json.loads(path.read_bytes())
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    said = [line for line in result.stderr.splitlines() if not line.startswith(("warning: ", "WARNING: "))]
    assert result.exit_code in (0, 1, 2), result.exit_code
    assert "Traceback" not in result.output
    assert "nan" not in result.stdout.lower().split() or "nan" in " ".join(arguments).lower()
    if result.exit_code == 2 and "--help" not in arguments:
        assert said[-1].startswith("error: "), result.stderr[:300]
        assert len(said[-1]) < 3000, len(said[-1])


def _installed(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in packages)


KINDS: dict[str, Kind] = {
    "pictures": Kind(_pictures, damage_bytes, read_image),
    "videos": Kind(_videos, damage_bytes, _read_video),
    "weights": Kind(_weights, damage_bytes, _read_weights),
    "darknet": Kind(_darknet_weights, damage_bytes, _read_darknet),
    "cfg": Kind(lambda folder, stack: {"a.cfg": CFG.encode()}, damage_text, _read_cfg),
    "coco": Kind(_coco, damage_json, _read_coco),
    "mpii": Kind(_mpii, damage_json, lambda path: mpii(path.parent.parent, split="val")),
    "detections": Kind(_detections, damage_json, _read_detections),
    "custom": Kind(_custom, damage_text, custom),
    "configs": Kind(_config, _damage_config, lambda path: load_config(path, TrainConfig)),
    "part files": Kind(_part, damage_lines, _read_part_file),
    "manifests": Kind(_manifest, damage_lines, _read_manifest),
    "hub": Kind(_hub, damage_json, _read_hub),
    "commands": Kind(_lines, _damage_line, _run_line),
}
if _installed("onnx", "onnxruntime"):
    KINDS["onnx"] = Kind(_onnx, damage_bytes, _read_exported)
if _installed("openvino"):
    KINDS["openvino"] = Kind(_openvino, _damage_openvino, _read_exported)
if _installed("hrkit_web", "uvicorn", "fastapi"):
    KINDS["web"] = Kind(_web, _damage_request, _ask_web)

__all__ = ["KINDS", "Damage"]
