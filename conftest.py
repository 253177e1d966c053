"""Fixtures of the whole suite."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from hub_stub import Hub

# machines are slow and shared; how long an example takes says nothing about whether it is right
for name, examples in (("fast", 10), ("hrkit", 50)):
    settings.register_profile(name, deadline=None, max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hrkit")  # `make test-fast` takes the other

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the processors, so each, and what it starts, has one thread
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference material beside the project; skips where it is absent."""
    if not (SHARED / "reference").is_dir():
        pytest.skip(f"no reference material at {SHARED}")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home of the suite's own: what somebody downloaded or built decides nothing here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HRKIT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("HRKIT_MEASURE", "0")  # what is faster here decides nothing either
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads of tiny networks only wait for each other where processors are shared."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small_crops() -> Iterator[None]:
    """The network of painted people takes crops of 128 x 96 px where no size is asked for, at a quarter of the work."""
    from hrkit.synthetic import SyntheticBackbone

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyntheticBackbone, "default_input_size", (128, 96), raising=False)
        yield


@pytest.fixture(scope="module")
def shallow() -> Iterator[None]:
    """HRNets of the usual names, with one block or module wherever four are repeated: 600 tensors instead of 1754."""
    from hrkit.backbones import hrnet

    stage, layer = hrnet.Stage, hrnet.residual_layer

    def fewer_modules(widths: list[int], num_modules: int, num_outputs: int) -> Any:
        return stage(widths, 1 if num_modules == 4 else num_modules, num_outputs)

    def one_block(block: Any, in_channels: int, planes: int, count: int) -> Any:
        return layer(block, in_channels, planes, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hrnet, "Stage", fewer_modules)
        patch.setattr(hrnet, "residual_layer", one_block)
        yield


@pytest.fixture(scope="session")
def painted_coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in COCO's format with six pictures of two painted people each."""
    from made_coco import make_coco

    folder = tmp_path_factory.mktemp("painted")
    make_coco(folder, pictures=6)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub, and a cache that is empty."""
    from huggingface_hub import constants

    from hub_stub import Hub

    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", server.token)
    for name, value in (("HF_HUB_CACHE", str(tmp_path / "cache")), ("HF_HUB_OFFLINE", False)):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def built_ops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hrkit home with the native operators, built once for all workers, and loaded; skips without a compiler."""
    from hrkit.ops import native

    if not (shutil.which("c++") or shutil.which("cl")):
        pytest.skip("there is no C++ compiler to build the operators with")
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built_ops"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HRKIT_HOME", str(home))
        assert native.loaded(build=True)
    return home
