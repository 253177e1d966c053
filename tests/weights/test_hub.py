"""Weights by an address of the Hub, from one on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from huggingface_hub import constants

from hrkit import Pipeline, create_pose_model
from hrkit.cli import main
from hrkit.errors import DownloadError, HrkitError, UnknownNameError, WeightsError
from hrkit.images import write_image
from hrkit.skeletons import get_skeleton
from hrkit.synthetic import paint_people
from hrkit.training.config import TrainConfig, save_config
from hrkit.training.publishing import FILES, publish
from hrkit.weights import checkpoints
from hrkit.weights.hub import Address, _errors_in_words, _speaks_xet, cached, fetch
from hub_stub import Hub

NETWORK = "timm/test_resnet"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training run leaves, with a report."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    torch.manual_seed(0)
    skeleton = get_skeleton("mpii16")
    model = create_pose_model(NETWORK, num_joints=16, skeleton=skeleton, input_size=(96, 64), codec="dark", sigma=1.5)
    told = {"AP": 0.4321, "step": 12, "epoch": 3, "datasets": ["coco:/home/somebody/coco"]}
    model.save(folder / "best.safetensors", training=told)
    config = TrainConfig(output=str(folder), datasets=("coco:/home/somebody/coco", "mpii*0.5"), backbone=NETWORK)
    save_config(config, folder / "config.json")
    (folder / "best.pt").write_bytes(pickle.dumps("what is not to be published"))
    return folder


@pytest.fixture
def weights(run: Path) -> bytes:
    return (run / "best.safetensors").read_bytes()


def written(header: str) -> bytes:
    """A weights file that says of itself what is given."""
    return safetensors.torch.save({"weight": torch.zeros(1)}, {"hrkit": header})


@pytest.mark.parametrize(
    ("text", "repository", "revision"),
    [
        ("hf-hub:owner/name", "owner/name", None),
        ("hf-hub:owner/na.me-2@v1.0", "owner/na.me-2", "v1.0"),
        ("hf-hub:owner/name@refs/pr/1", "owner/name", "refs/pr/1"),
    ],
)
def test_addresses(text: str, repository: str, revision: str | None) -> None:
    address = Address.parse(text)
    assert (address.repository, address.revision) == (repository, revision)
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        *("hf-hub:", "hf-hub:name", "hf-hub:a/b/c", "hf-hub:../b", "hf-hub:a/..", "hf-hub:a/b@../../x", "hf-hub:a/b@"),
        *("hf-hub:a/b?x", "hf-hub:/a/b", "hf-hub:a\\b/c", "hf-hub:a/b\n", "hf-hub:a/b@/etc", "owner/name"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(HrkitError, match="is not an address of the Hub"):
        Address.parse(text)


@pytest.mark.slow
def test_published_weights_know_their_network(hub: Hub, run: Path) -> None:
    url = publish(run, "hf-hub:owner/name", licence="apache-2.0")
    assert url.startswith(f"{hub.url}/owner/name/commit/")
    assert set(FILES) == {"model.safetensors", "config.json", "README.md"}
    assert set(hub.repositories["owner/name"]["main"]) == set(FILES)
    for backbone, weights in ((NETWORK, "hf-hub:owner/name"), ("hf-hub:owner/name", None)):
        model = create_pose_model(backbone, weights=weights, num_joints=None, input_size=None)
        assert model.input_size == (96, 64)
        assert model.skeleton.keypoint_names == get_skeleton("mpii16").keypoint_names
        assert (model.spec.codec, model.spec.sigma, model.name) == ("dark", 1.5, NETWORK)
        state = checkpoints.read_checkpoint(run / "best.safetensors").state
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for source in (str(run), str(run / "best.safetensors")):
        assert create_pose_model(source, num_joints=None).name == NETWORK
    with pytest.raises(WeightsError, match="has weights of its own"):
        create_pose_model(str(run), weights="other.safetensors")
    pipeline = Pipeline.from_names("hf-hub:owner/name", "synthetic", device="cpu")
    frame = paint_people((120, 160), [[[30 + k, 40 + 3 * k] for k in range(16)]])
    assert pipeline(frame).keypoints.shape == (1, 16, 2)


@pytest.mark.slow
def test_nothing_of_its_maker_is_published(hub: Hub, run: Path) -> None:
    publish(run, "hf-hub:owner/name")
    files = hub.repositories["owner/name"]["main"]
    for name, content in files.items():
        assert b"somebody" not in content, name
        assert str(run).encode() not in content, name
    config = json.loads(files["config.json"])
    assert config["library_name"] == "hrkit"
    assert (config["backbone"], config["input_size"], config["codec"]) == (NETWORK, [96, 64], "dark")
    assert config["training"] == {"AP": 0.4321, "step": 12, "epoch": 3, "datasets": ["coco", "mpii"]}


def test_revisions(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    hub.add("owner/name", "main", model=b"other")
    hub.add("owner/name", "v2", model=weights)
    assert fetch("hf-hub:owner/name@v2").read_bytes() == weights
    assert fetch("hf-hub:owner/name").read_bytes() == b"other"
    with pytest.raises(DownloadError, match=r"^hf-hub:owner/name@v3: the repository has no such revision$"):
        fetch("hf-hub:owner/name@v3")


def test_another_file_and_what_is_in_the_cache(hub: Hub, weights: bytes) -> None:
    hub.add("owner/name", model=weights)
    hub.repositories["owner/name"]["main"]["config.json"] = b"{}"
    assert cached("hf-hub:owner/name") is cached("hf-hub:*") is None
    assert fetch("hf-hub:owner/name", "config.json").read_bytes() == b"{}"
    assert cached("hf-hub:owner/name") is None
    assert fetch("hf-hub:owner/name") == cached("hf-hub:owner/name")
    with pytest.raises(DownloadError, match=r"^hf-hub:owner/name has no other.json \(2 files\)$"):
        fetch("hf-hub:owner/name", "other.json")


@pytest.mark.slow
def test_a_branch_that_is_not_there_is_made(hub: Hub, run: Path) -> None:
    publish(run, "hf-hub:owner/name@v2")
    assert set(hub.repositories["owner/name"]["v2"]) == set(FILES)
    assert hub.repositories["owner/name"]["main"] == {}
    hub.repositories["owner/name"]["v2"]["mine.txt"] = b"stays"
    for revision in ("v2", "main", "for/others"):
        publish(run, f"hf-hub:owner/name@{revision}")
        assert set(hub.repositories["owner/name"][revision]) >= set(FILES)
    assert hub.repositories["owner/name"]["v2"]["mine.txt"] == b"stays"
    hub.read_only = True
    with pytest.raises(DownloadError, match="you may not write to it"):
        publish(run, "hf-hub:owner/name@v3")


@pytest.mark.slow
def test_nothing_is_made_for_a_pull_request(hub: Hub, run: Path) -> None:
    with pytest.raises(DownloadError, match="there is no such repository"):
        publish(run, "hf-hub:owner/name@refs/pr/1")
    assert not hub.repositories
    hub.add("owner/name")
    with pytest.raises(DownloadError, match="no such revision"):
        publish(run, "hf-hub:owner/name@refs/pr/1")
    hub.add("owner/name", "refs/pr/1")
    publish(run, "hf-hub:owner/name@refs/pr/1")
    assert set(hub.repositories["owner/name"]["refs/pr/1"]) == set(FILES)


def test_a_hub_that_does_not_speak_xet(hub: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False, raising=False)
    publish(run, "hf-hub:owner/name")
    assert list(hub.large) == [hashlib.sha256(hub.repositories["owner/name"]["main"]["model.safetensors"]).hexdigest()]
    assert not any("xet" in line for line in hub.asked)


@pytest.mark.parametrize(
    ("endpoint", "speaks"),
    [
        *(("", True), ("https://huggingface.co", True), ("https://hub-ci.huggingface.co/", True)),
        *(("http://127.0.0.1:8080", False), ("https://hub.of.somebody.org/huggingface.co", False)),
    ],
)
def test_which_hubs_speak_xet(monkeypatch: pytest.MonkeyPatch, endpoint: str, speaks: bool) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert _speaks_xet() == speaks


def test_it_is_fetched_once_and_works_without_network(
    hub: Hub, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("owner/name", model=weights)
    path = fetch("hf-hub:owner/name")
    assert fetch("hf-hub:owner/name") == path
    assert sum(line.startswith("GET /owner/name/resolve") for line in hub.asked) == 1
    asked = len(hub.asked)
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert fetch("hf-hub:owner/name") == path
        with pytest.raises(DownloadError, match=r"cannot be reached .*; nothing of it is in the cache$"):
            fetch("hf-hub:owner/other")
    assert len(hub.asked) == asked
    hub.status = 503
    assert fetch("hf-hub:owner/name") == path
    with pytest.raises(DownloadError, match=r"answered with an error \(.*503.*\); nothing of it is in the cache$"):
        fetch("hf-hub:owner/other")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert fetch("hf-hub:owner/name") == path
    with pytest.raises(DownloadError, match=r"cannot be reached .*; nothing of it is in the cache$"):
        fetch("hf-hub:owner/name@v2")


def test_private_repositories(hub: Hub, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("owner/name", model=weights)
    hub.private.add("owner/name")
    assert fetch("hf-hub:owner/name").read_bytes() == weights
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    for name in ("name", "unknown"):
        with pytest.raises(DownloadError, match=r"no such repository, or it is private; .* HF_TOKEN$"):
            fetch(f"hf-hub:owner/{name}")


@pytest.mark.parametrize("same_size", [True, False])
def test_what_is_not_what_the_hub_says_is_refused(hub: Hub, weights: bytes, same_size: bool) -> None:
    hub.add("owner/name", model=weights)
    hub.served["model.safetensors"] = weights[:-1] + b"x" if same_size else weights + b"x"
    with pytest.raises(DownloadError, match=r"(removed|of the size .*); try again$"):
        fetch("hf-hub:owner/name")
    assert huggingface_hub.try_to_load_from_cache("owner/name", "model.safetensors") is None
    hub.served.clear()
    assert fetch("hf-hub:owner/name").read_bytes() == weights


def test_pickles_are_not_even_fetched(hub: Hub) -> None:
    hub.repositories["owner/name"] = {"main": {"pytorch_model.bin": pickle.dumps(print), "README.md": b""}}
    with pytest.raises(DownloadError, match=r"has no model.safetensors \(only pytorch_model.bin, and pickles"):
        fetch("hf-hub:owner/name")
    assert not any("resolve" in line for line in hub.asked)


def test_names_of_files_lead_nowhere(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    names = ("../../../evil.safetensors", "/etc/model.safetensors", "..\\model.safetensors", "a/../model.safetensors")
    hub.repositories["owner/name"] = {"main": dict.fromkeys(names, weights)}
    with pytest.raises(DownloadError, match=r"has no model.safetensors \(4 files\)"):
        fetch("hf-hub:owner/name")
    assert [path.name for path in tmp_path.rglob("*.safetensors")] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["/{}", "../../../../{}", "..\\..\\{}"])
def test_a_hub_that_lies_writes_and_removes_nothing_outside_the_cache(
    hub: Hub, weights: bytes, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(weights)
    lie = name.format(victim if name[0] == "/" else "victim").replace("//", "/")
    hub.add("owner/name", model=weights)
    for tag in ("ETag", "X-Linked-ETag"):
        hub.headers = {tag: f'"{lie}"', "X-Repo-Commit": lie}
        with pytest.raises(DownloadError, match=f"the server's {tag} .* is a path, not a digest$") as caught:
            fetch("hf-hub:owner/name")
        assert "\n" not in str(caught.value)
    hub.headers = {"X-Repo-Commit": lie}
    hub.served["model.safetensors"] = weights[:-1] + b"x"
    with pytest.raises(DownloadError, match="has the sha256"):
        fetch("hf-hub:owner/name")
    hub.served.clear()
    for stated in ({}, {"sha": lie}, {"siblings": [{"rfilename": "model.safetensors", "size": 1, "blobId": lie}]}):
        hub.stated = stated
        with contextlib.suppress(DownloadError):
            assert fetch("hf-hub:owner/name").read_bytes() == weights
    assert victim.read_bytes() == weights
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "cache"}


_FILE = {"rfilename": "model.safetensors", "size": 3, "blobId": "0" * 40}


@pytest.mark.parametrize(
    "stated",
    [
        {"sha": None},
        {"sha": "main"},
        {"sha": "0" * 40 + "/../../x"},
        {"sha": ["0" * 40]},
        {"siblings": [{**_FILE, "blobId": "../x"}]},
        {"siblings": [{**_FILE, "size": None}]},
        {"siblings": [{**_FILE, "size": "3"}]},
        {"siblings": [{**_FILE, "size": -3}]},
        {"siblings": [{**_FILE, "lfs": {"sha256": "/etc/x", "size": 3, "pointerSize": 1}}]},
        {"siblings": [{**_FILE, "lfs": {"sha256": 7, "size": 3, "pointerSize": 1}}]},
    ],
)
def test_what_a_hub_says_of_a_file_is_checked_before_it_is_asked_for(
    hub: Hub, weights: bytes, stated: dict[str, Any], tmp_path: Path
) -> None:
    hub.add("owner/name", model=weights)
    hub.stated = stated
    with pytest.raises(DownloadError, match="makes no sense") as caught:
        fetch("hf-hub:owner/name")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()
    assert not any("resolve" in line for line in hub.asked)


def test_a_token_goes_to_no_other_server(hub: Hub, weights: bytes) -> None:
    with Hub() as other:
        threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.01}).start()
        other.token = hub.token  # whom it knows it gives files of private repositories
        hub.add("owner/name", model=weights)
        other.add("owner/name", model=weights)
        hub.elsewhere = f"{other.url}/owner/name/resolve/main/model.safetensors"
        other.private.add("owner/name")
        with pytest.raises(DownloadError, match="you may not read it; log in"):
            fetch("hf-hub:owner/name")
        other.private.clear()
        assert fetch("hf-hub:owner/name").read_bytes() == weights
        other.shutdown()


@pytest.mark.parametrize("address", ["http://[bad/", "ftp://127.0.0.1/x", "file:///etc/passwd", "//", "http://a b/"])
def test_where_a_hub_leads_to_is_no_place(hub: Hub, weights: bytes, address: str) -> None:
    hub.add("owner/name", model=weights)
    hub.elsewhere = address
    with pytest.raises(DownloadError, match=r"^hf-hub:owner/name: cannot download") as caught:
        fetch("hf-hub:owner/name")
    assert "\n" not in str(caught.value)


def test_timm_does_not_fetch_by_itself(hub: Hub, tmp_path: Path) -> None:
    import timm

    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    hub.add("timm/test_resnet.r160_in1k", model=safetensors.torch.save(state))
    hub.headers = {"ETag": f'"{tmp_path}/victim"'}
    with pytest.raises(HrkitError, match="the server's ETag"):
        create_pose_model("timm/test_resnet", backbone_weights="pretrained", num_joints=1, input_size=(64, 64))
    hub.headers.clear()
    model = create_pose_model("timm/test_resnet", backbone_weights="pretrained", num_joints=1, input_size=(64, 64))
    assert torch.equal(model.backbone.network.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    hub.add("timm/test_resnet.r160_in1k", model=b"no weights")
    with pytest.raises(HrkitError, match="timm/test_resnet cannot be built"):
        create_pose_model("timm/test_resnet", backbone_weights="pretrained")


def test_commits_share_a_file(hub: Hub, weights: bytes) -> None:
    hub.add("owner/name", model=weights)
    first = fetch("hf-hub:owner/name")
    hub.repositories["owner/name"]["main"]["README.md"] = b"new"
    second = fetch("hf-hub:owner/name")
    assert first != second
    assert first.samefile(second)
    assert huggingface_hub.try_to_load_from_cache("owner/name", "model.safetensors") == str(second)
    assert [len(repo.revisions) for repo in huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).repos] == [2]


def test_a_file_system_without_symbolic_links(hub: Hub, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    hub.add("owner/name", model=weights)
    path = fetch("hf-hub:owner/name")
    assert not path.is_symlink()
    assert fetch("hf-hub:owner/name").read_bytes() == weights


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"siblings": 3}', b'{"id": "a/b", "siblings": [{}]}'])
def test_answers_that_make_no_sense(hub: Hub, answer: bytes) -> None:
    hub.answer = answer
    with pytest.raises(DownloadError, match="makes no sense") as caught:
        fetch("hf-hub:owner/name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "error", "words"),
    [
        ({}, WeightsError, "does not record its network"),
        ({"backbone": 3}, WeightsError, "does not record its network"),
        ({"backbone": "no_such_net"}, UnknownNameError, "unknown backbone 'no_such_net'"),
        ({"backbone": "hf-hub:owner/other"}, UnknownNameError, "unknown backbone"),
        ({"backbone": "timm/hf-hub:owner/other"}, HrkitError, "timm has no model"),
        ({"backbone": NETWORK}, WeightsError, "its metadata cannot be used"),
        ({"backbone": NETWORK, "backbone_options": [1]}, WeightsError, "its metadata cannot be used"),
        ({"backbone": NETWORK, "backbone_options": {"checkpoint_path": "/tmp/x.pth"}}, HrkitError, "is not taken"),
        ({"backbone": NETWORK, "backbone_options": {"act_layer": "none"}}, HrkitError, NETWORK),
        ({"backbone": NETWORK, "backbone_options": {"pretrained_cfg": {"file": "x"}}}, HrkitError, "is not taken"),
    ],
)
def test_metadata_that_is_no_good(hub: Hub, metadata: dict[str, Any], error: type[Exception], words: str) -> None:
    hub.add("owner/name", model=written(json.dumps(metadata)))
    with pytest.raises(error, match=words) as caught:
        create_pose_model("hf-hub:owner/name")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("header", ["{", "3", "[" * 100_000])
def test_metadata_that_is_none(hub: Hub, header: str) -> None:
    hub.add("owner/name", model=written(header))
    with pytest.raises(WeightsError, match=r"damaged|not names and values") as caught:
        create_pose_model("hf-hub:owner/name")
    assert "\n" not in str(caught.value)


def test_weights_of_another_network(hub: Hub, weights: bytes) -> None:
    hub.add("owner/name", model=weights)
    with pytest.raises(WeightsError, match=f"holds {NETWORK} with 16 joints, which does not fit"):
        create_pose_model("timm/resnet10t", weights="hf-hub:owner/name", num_joints=None)
    with pytest.raises(WeightsError, match="has weights of its own"):
        create_pose_model("hf-hub:owner/name", weights="other.pth")


@pytest.mark.slow
def test_commands(hub: Hub, run: Path, tmp_path: Path) -> None:
    invoke = CliRunner().invoke
    done = invoke(main, ["publish", str(run), "--to", "hf-hub:owner/name@main", "--private"])
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("use it: hrkit demo photo.jpg --backbone hf-hub:owner/name@main\n")
    assert hub.private == {"owner/name"}
    fetched = invoke(main, ["download", "hf-hub:owner/name"])
    assert Path(fetched.stdout.strip()).read_bytes() == hub.repositories["owner/name"]["main"]["model.safetensors"]
    write_image(tmp_path / "photo.png", paint_people((120, 160), [[[30 + k, 40 + 3 * k] for k in range(16)]]))
    photo, out = str(tmp_path / "photo.png"), str(tmp_path / "out")
    demo = ["demo", "--image", photo, "--detector", "synthetic", "--output", out]
    for chosen in (["--backbone", NETWORK, "--weights", "hf-hub:owner/name"], ["--backbone", "hf-hub:owner/name"]):
        drawn = invoke(main, [*demo, "--device", "cpu", *chosen])
        assert drawn.exit_code == 0, drawn.output
        assert "1 person" in drawn.output
    missing = invoke(main, [*demo, "--weights", "hf-hub:owner/none"])
    assert missing.exit_code == 2
    assert missing.stderr.splitlines()[-1].startswith("error: hf-hub:owner/none: there is no such repository")
    hub.read_only = True
    refused = invoke(main, ["publish", str(run), "--to", "hf-hub:owner/name"])
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1].startswith("error: hf-hub:owner/name: you may not write to it; log in")


def test_an_answer_that_is_nested_too_deeply() -> None:
    says = "makes no sense"
    with pytest.raises(DownloadError, match=says), _errors_in_words(Address.parse("hf-hub:someone/pose")):
        json.loads("[" * 100_000)
