import json
import re
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hrkit import create_pose_model, registry
from hrkit.errors import DownloadError, UnknownNameError, WeightsError
from hrkit.hookspecs import hookimpl
from hrkit.skeletons import get_skeleton
from hrkit.weights import catalogue, downloads
from hrkit.weights.catalogue import WeightsEntry, register_weights

POSE_MODELS = {"hrnet_w32", "hrnet_w48", "pose_resnet_50", "pose_resnet_101", "pose_resnet_152"}
BACKBONES = POSE_MODELS | {"pose_resnet_18", "pose_resnet_34"}
URL = "https://example.org/weights.pth"


@pytest.fixture
def register():
    """Registers entries as a plugin would; takes them out again at the end."""
    names = []

    def add(*brought: WeightsEntry) -> None:
        names.append(f"weights-of-a-test-{len(names)}")
        registry.plugins.register(SimpleNamespace(register_weights=hookimpl(lambda: list(brought))), names[-1])

    yield add
    for name in names:
        registry.plugins.unregister(name)


@pytest.fixture
def downloaded(monkeypatch, tmp_path):
    """A cache in `tmp_path`, and the calls of `download` instead of downloads."""
    calls = []

    def download(url, target, **published):
        calls.append((url, published))
        return target

    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "download", download)
    return calls


def entry(name="other", model="other_model", **fields):
    return WeightsEntry(name, model, **({"url": URL} | fields))


def test_entry_defaults():
    made = entry(input_size=[384, 288], metrics={"AP": 0.5})
    assert made.num_joints == 17
    assert made.input_size == (384, 288)
    assert made.channel_order == "rgb"
    assert hash(made) == hash(entry(input_size=(384, 288), metrics={"AP": 0.5}))
    assert entry(skeleton="mpii16").num_joints == 16
    assert entry().input_size == (256, 192)
    assert entry(kind="detector").input_size is None


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "../weights"},
        {"name": "a/b"},
        {"model": ""},
        {"kind": "poses"},
        {"url": None},
        {"url": "file:///weights.pth"},
        {"checksum": "36af842e"},
        {"checksum": "md5:36af842e"},
        {"checksum": "sha256:36af"},
        {"size": 0},
        {"codec": ""},
        {"sigma": 0},
        {"input_size": (256,)},
        {"input_size": (256, 0)},
        {"input_size": None},
        {"mean": (0.5, 0.5)},
        {"std": (1, 1, 0)},
        {"channel_order": "RGB"},
        {"skeleton": "coco18"},
    ],
)
def test_entry_is_checked(fields):
    with pytest.raises((WeightsError, UnknownNameError)) as error:
        entry(**fields)
    assert "\n" not in str(error.value)


def test_published_entries_are_sound():
    published = register_weights()
    assert len({made.name for made in published}) == len(published)
    assert {made.model for made in published if made.kind == "pose"} == POSE_MODELS | {"hrnetv2_w18"}
    assert {made.model for made in published if made.kind == "backbone"} == BACKBONES
    assert {made.model for made in published if made.kind == "detector"} == {"yolov3", "yolov3_tiny"}
    for made in published:
        assert made.url.startswith("https://")
        assert made.licence
        assert made.source
        assert made.checksum or made.source == "HRNet" or "exlpose" in made.name
        if made.kind == "pose":
            assert made.metrics or "ubody" in made.name
            assert all(0 < metric <= 1 for name, metric in made.metrics.items() if name != "EPE")
            sharp = made.skeleton.name in ("300w", "300wlp", "cofw")
            assert made.sigma == (3 if made.input_size[0] == 384 else 1.5 if sharp else 2)
            assert "{}x{}".format(*made.input_size) in made.name
            assert made.codec == next((codec for codec in ("dark", "udp") if codec in made.name), "msra")
            blurs = made.codec == "dark" and made.sigma == 3  # only ResNet-152's config names a kernel of 17
            assert made.codec_options == ({"kernel": 17 if "152" in made.model else 11} if blurs else {})


def test_one_default_for_a_model_and_number_of_joints():
    defaults = defaultdict(list)
    for made in register_weights():
        if made.kind == "pose":
            defaults[made.model, made.num_joints] += [made.name] if made.default else []
    assert defaults.pop(("hrnet_w48", 17)) == ["hrnet_w48-coco-384x288"]
    assert defaults.pop(("pose_resnet_50", 294)) == []  # each of the 13 is for one kind of clothes
    datasets = {17: "coco", 16: "mpii", 14: "crowdpose", 21: "coco_wholebody_hand", 68: "coco_wholebody_face"}
    for (model, num_joints), names in defaults.items():
        (name,) = names
        assert name.startswith(f"{model}-{datasets.get(num_joints, '')}")


@pytest.mark.needs_shared
def test_published_entries_follow_the_reference(shared):
    rows = json.loads((shared / "reference" / "zoo.json").read_text())
    more = json.loads((shared / "reference" / "models" / "zoo_more.json").read_text())
    more = {row["url"] for row in more}  # the others are in test_published_more.py
    entries = {made.url: made for made in register_weights() if made.source == "MMPose" and made.url not in more}
    left_out = re.compile(r"litehrnet|udp-regress|combine|res101_8xb32-210e_coco-384x288")
    assert sum(bool(left_out.search(row["config"])) for row in rows) == 7
    rows = [row for row in rows if not left_out.search(row["config"])]
    assert {row["url"] for row in rows} == set(entries)
    names = {"AP@0.5": "AP50", "AP@0.75": "AP75", "AR@0.5": "AR50", "Mean": "PCKh", "Mean@0.1": "PCKh@0.1"}
    for row in rows:
        made = entries[row["url"]]
        assert made.metrics == {names.get(name, name): value for name, value in row["metrics"].items()}
        assert made.checksum == f"sha256:{row['sha256_prefix']}"
        assert made.licence == "Apache-2.0"
        config = row["config"].replace("-w", "_w").replace("td-hm_res", "td-hm_pose_resnet_")
        assert f"td-hm_{made.model}_" in config
        assert "{}x{}".format(*made.input_size) in config
        assert (row["dataset"] == "MPII") == (made.num_joints == 16)
        for variant in ("dark", "udp", "fp16", "aic", "coarsedropout", "gridmask", "photometric"):
            assert (variant in config) == made.name.endswith(f"-{variant}")


@pytest.mark.needs_shared
def test_entries_outside_mmpose_follow_the_reference(shared):
    text = (shared / "reference" / "README.md").read_text()
    for made in register_weights():
        if made.source == "HRNet" and made.kind == "pose":
            assert re.search("id=([^&]+)", made.url)[1] in text
        if made.source == "Darknet":
            assert f"{made.size:,} bytes" in text
    assert catalogue.find("yolov3_tiny").checksum.removeprefix("sha256:") in text


def test_entries(register):
    register(entry("mine", "hrnet_w32"))
    assert [made.name for made in catalogue.entries("yolov3")] == ["yolov3"]
    assert {made.kind for made in catalogue.entries(kind="backbone")} == {"backbone"}
    assert catalogue.entries("hrnet_w32")[-1].name == "mine"
    assert catalogue.entries("nothing") == []


def test_an_entry_of_a_pattern_is_one_of_each_model_that_fits(register, monkeypatch):
    register(entry("of_hub", "hub/*", url="hf-hub:*"), entry("of_web", "web/*-pose", url="https://example.org/*.pth"))
    (made,) = catalogue.entries("hub/owner/name")
    assert (made.name, made.model, made.url) == ("of_hub", "hub/owner/name", "hf-hub:owner/name")
    assert catalogue.choose("web/small-pose").url == "https://example.org/small.pth"
    assert catalogue.entries("hub/") == catalogue.entries("web/-pose") == catalogue.entries("other/name") == []
    assert {made.model for made in catalogue.entries()} >= {"hub/*", "web/*-pose"}
    assert not catalogue.is_cached(catalogue.find("of_hub"))

    asked = []
    monkeypatch.setattr("hrkit.weights.hub.fetch", lambda address, progress: asked.append(address) or Path("fetched"))
    assert catalogue.fetch(made) == catalogue.resolve("hub/owner/name", "auto") == Path("fetched")
    assert asked == ["hf-hub:owner/name"] * 2


def test_a_table_of_entries(tmp_path):
    table = tmp_path / "table.tsv"
    table.write_text("name\tmodel\tinput_size\tmetrics\turl\na\tb\t384x288\tAP=0.5 AR=0.6\thttps://a.org/b\nc\td\t\t\thf-hub:e/f\n")
    first, second = catalogue.read_entries(table, licence="MIT")
    assert first == WeightsEntry(
        "a", "b", input_size=(384, 288), metrics={"AP": 0.5, "AR": 0.6}, url="https://a.org/b", licence="MIT"
    )
    assert (second.input_size, second.metrics, second.url) == ((256, 192), {}, "hf-hub:e/f")


def test_find():
    assert catalogue.find("hrnet_w32-coco-256x192-dark").codec == "dark"
    with pytest.raises(UnknownNameError, match="did you mean hrnet_w32-coco-256x192") as error:
        catalogue.find("hrnet_w32-coco-256x194")
    assert "yolov3" not in str(error.value)  # the choices are those of the model
    with pytest.raises(UnknownNameError, match="yolov3_tiny"):
        catalogue.find("yolo_tiny")
    with pytest.raises(UnknownNameError, match=r"unknown yolov3 weights .*did you mean yolov3_tiny") as error:
        catalogue.find("yolov3-tiny")
    assert str(error.value).endswith("choices: yolov3")


def test_find_says_where_well_known_ones_are(monkeypatch):
    entries = {"yolov3": registry.weights.entries()["yolov3"]}
    monkeypatch.setattr(registry.Registry, "entries", lambda self: entries)
    with pytest.raises(UnknownNameError, match=r"pip install \./plugins/hrkit-lite"):
        catalogue.find("lite-coco-256x192")


@pytest.mark.parametrize(
    ("model", "wanted", "name"),
    [
        ("hrnet_w48", {}, "hrnet_w48-coco-384x288"),
        ("hrnet_w32", {}, "hrnet_w32-coco-256x192"),
        ("pose_resnet_152", {}, "pose_resnet_152-coco-256x192"),
        ("hrnet_w32", {"num_joints": 16}, "hrnet_w32-mpii-256x256"),
        ("hrnet_w48", {"input_size": (256, 192)}, "hrnet_w48-coco-256x192"),
        ("hrnet_w48", {"input_size": [256, 192]}, "hrnet_w48-coco-256x192"),
        ("hrnet_w32", {"codec": "udp"}, "hrnet_w32-coco-256x192-udp"),
        ("hrnet_w32", {"codec": "udp", "input_size": (384, 288)}, "hrnet_w32-coco-384x288-udp"),
        ("hrnet_w32", {"input_size": (256, 256)}, "hrnet_w32-mpii-256x256"),  # no animals with 17 joints
        ("hrnet_w32", {"num_joints": 14}, "hrnet_w32-crowdpose-256x192"),
        ("hrnet_w32", {"skeleton": get_skeleton("aic")}, "hrnet_w32-aic-256x192"),
        ("hrnet_w32", {"skeleton": get_skeleton("ap10k")}, "hrnet_w32-ap10k-256x256"),
        ("hrnet_w48", {"num_joints": 133, "codec": "dark"}, "hrnet_w48-coco_wholebody-384x288-dark"),
        ("hrnet_w48", {"skeleton": get_skeleton("coco")}, "hrnet_w48-coco-384x288"),
        ("pose_resnet_101", {"input_size": (384, 288)}, "pose_resnet_101-coco-384x288-dark"),
        ("yolov3", {"kind": "detector"}, "yolov3"),
        ("pose_resnet_18", {"kind": "backbone"}, "pose_resnet_18-imagenet"),
    ],
)
def test_choose(model, wanted, name):
    assert catalogue.choose(model, **wanted).name == name


def test_choose_does_not_guess(register):
    with pytest.raises(WeightsError, match=r"several weights of pose_resnet_50 fit; name one .*-vest, .*-trousers"):
        catalogue.choose("pose_resnet_50", num_joints=294)
    with pytest.raises(WeightsError, match=r"no pose weights of hrnet_w32 fit num_joints=17, input_size=\(256, 256\)"):
        catalogue.choose("hrnet_w32", num_joints=17, input_size=(256, 256))
    with pytest.raises(WeightsError, match=r"fit codec='udp', skeleton='ap10k'"):
        catalogue.choose("hrnet_w32", skeleton=get_skeleton("ap10k"), codec="udp")
    register(entry("hand", "net", skeleton="onehand10k"), entry("face", "net", skeleton="wflw"))
    with pytest.raises(WeightsError, match="several weights of net fit; name one of them as weights: hand, face"):
        catalogue.choose("net")
    assert catalogue.choose("net", num_joints=98).name == "face"


def test_choose_among_a_plugins_entries(register):
    register(
        entry("first", head="fpn"),
        entry("second", head="fpn", codec="dark", default=True),
        entry("third"),
        entry("mpii", skeleton="mpii16", default=True),
        entry("only-mpii", "mpii_model", skeleton="mpii16"),
    )
    assert catalogue.choose("other_model").name == "second"
    assert catalogue.choose("other_model", codec="msra").name == "first"
    assert catalogue.choose("other_model", head="fpn", codec="msra").name == "first"
    assert catalogue.choose("other_model", num_joints=16).name == "mpii"
    assert catalogue.choose("mpii_model").name == "only-mpii"


def test_a_plugins_entry_does_not_displace_the_default(register):
    register(entry("mine", "hrnet_w32", input_size=(256, 192)))
    assert catalogue.choose("hrnet_w32").name == "hrnet_w32-coco-256x192"


def test_choose_says_what_there_is():
    with pytest.raises(WeightsError, match=r"num_joints=14.*hrnet_w48-mpii-256x256 \(16 joints, 256x256, msra\)"):
        catalogue.choose("hrnet_w48", num_joints=14)
    with pytest.raises(WeightsError, match=r"timm/resnet18 has no published pose weights; pass weights=PATH"):
        catalogue.choose("timm/resnet18")
    with pytest.raises(WeightsError, match="no published pose weights"):
        catalogue.choose("pose_resnet_18")


def test_resolve_nothing_and_auto(downloaded, tmp_path):
    assert catalogue.resolve("hrnet_w32", None) is None
    assert catalogue.resolve("hrnet_w32", "auto") == tmp_path / "hrnet_w32-coco-256x192.pth"
    assert catalogue.resolve("yolov3", "auto", kind="detector") == tmp_path / "yolov3.weights"


def test_resolve_a_path(tmp_path, monkeypatch):
    file = tmp_path / "mine"
    file.write_bytes(b"weights")
    assert catalogue.resolve("hrnet_w32", file) == file
    assert catalogue.resolve("hrnet_w32", str(file)) == file
    monkeypatch.chdir(tmp_path)
    assert catalogue.resolve("hrnet_w32", "mine") == Path("mine")


@pytest.mark.parametrize("missing", ["folder/weights", "weights.pth", "weights.SAFETENSORS", "best.pth.tar", Path("w")])
def test_resolve_a_missing_file(missing):
    with pytest.raises(WeightsError, match="no weights file"):
        catalogue.resolve("hrnet_w32", missing)


def test_resolve_a_name(downloaded, tmp_path):
    assert catalogue.resolve("hrnet_w32", "hrnet_w32-coco-256x192-udp") == tmp_path / "hrnet_w32-coco-256x192-udp.pth"
    with pytest.raises(UnknownNameError):
        catalogue.resolve("hrnet_w32", "hrnet_w32-lsp")
    with pytest.raises(WeightsError, match="of hrnet_w48, not of hrnet_w32"):
        catalogue.resolve("hrnet_w32", "hrnet_w48-coco-256x192")
    assert len(downloaded) == 1


def test_weights_of_another_kind_are_refused_before_any_download(downloaded, register):
    register(entry("detects", "both", kind="detector"))
    with pytest.raises(
        WeightsError,
        match=r"^'hrnet_w32-imagenet' are backbone .*, not pose .*; pass them as backbone_weights$",
    ):
        catalogue.resolve("hrnet_w32", "hrnet_w32-imagenet")
    with pytest.raises(WeightsError, match="are detector weights, not pose weights; `hrkit models both` lists more"):
        catalogue.resolve("both", "detects")
    assert downloaded == []
    catalogue.resolve("hrnet_w32", "hrnet_w32-coco-256x192", kind="backbone")  # its trunk is one
    assert len(downloaded) == 1


def test_fetch_downloads_what_is_published(downloaded, tmp_path):
    assert catalogue.fetch(catalogue.find("yolov3"), progress=False) == tmp_path / "yolov3.weights"
    checksum = "sha1:520878f12e97cf820529daea502acca380f1cb8e"
    published = {"checksum": checksum, "size": 248_007_048, "progress": False}
    assert downloaded == [("https://pjreddie.com/media/files/yolov3.weights", published)]


def test_an_address_without_a_suffix(downloaded, tmp_path):
    made = catalogue.find("official-hrnet_w32-coco-256x192")
    assert catalogue.fetch(made) == tmp_path / "official-hrnet_w32-coco-256x192.pth"


def test_is_cached(downloaded, tmp_path):
    made = catalogue.find("hrnet_w32-imagenet")
    assert not catalogue.is_cached(made)
    (tmp_path / "hrnet_w32-imagenet.pth").write_bytes(b"weights")
    assert catalogue.is_cached(made)
    (tmp_path / "yolov3.weights").write_bytes(b"garbage")
    assert not catalogue.is_cached(catalogue.find("yolov3"))


def test_a_carried_file(downloaded, tmp_path):
    made = entry(url=None, file=str(tmp_path / "carried.pth"))
    assert not catalogue.is_cached(made)
    with pytest.raises(WeightsError, match="install the plugin again"):
        catalogue.fetch(made)
    made.file.write_bytes(b"weights")
    assert catalogue.is_cached(made)
    assert catalogue.fetch(made) == tmp_path / "carried.pth"
    assert downloaded == []


def test_a_wrong_file_in_the_cache_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    (tmp_path / "hrnet_w32-imagenet.pth").write_bytes(b"something else")
    with pytest.raises(DownloadError, match="36af842e"):
        catalogue.resolve("hrnet_w32", "hrnet_w32-imagenet", kind="backbone")


@pytest.mark.slow
def test_an_entry_brings_the_options_of_its_backbone(register, shallow, tmp_path):
    options, file = {"multi_scale": True}, tmp_path / "wide.pth"
    made = create_pose_model("hrnet_w2", head="fpn", backbone_options=options, input_size=(64, 64))
    torch.save(made.state_dict(), file)
    register(entry("wide", "hrnet_w2", file=file, head="fpn", input_size=(64, 64), backbone_options=options))
    for weights in ("auto", "wide"):
        model = create_pose_model("hrnet_w2", weights=weights, input_size=None)
        assert (model.backbone_options, model.spec.head) == (options, "fpn")
        assert all(torch.equal(tensor, made.state_dict()[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(WeightsError, match="does not fit"):
        create_pose_model("hrnet_w2", weights="wide", backbone_options={"multi_scale": False}, input_size=None)
