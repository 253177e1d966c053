"""The file of `lite_person` as it is written."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hrkit_lite.person_network import PersonNetwork

TOOL = Path(__file__).resolve().parents[1] / "tools" / "pack_person.py"


def test_the_score_is_calibrated_and_boxes_stay() -> None:
    spec = importlib.util.spec_from_file_location("pack_person", TOOL)
    assert spec is not None
    assert spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    network, changed = PersonNetwork().eval(), PersonNetwork().eval()
    changed.load_state_dict(pack.calibrated(network.state_dict(), 1.5, -0.25))
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        before, after = network(images), changed(images)
    torch.testing.assert_close(after[..., 0], 1.5 * before[..., 0] - 0.25)
    torch.testing.assert_close(after[..., 1:], before[..., 1:])


@pytest.mark.slow
def test_several_runs_are_averaged(tmp_path: Path) -> None:
    states = [PersonNetwork().state_dict() for _ in range(2)]
    for number, state in enumerate(states):
        safetensors.torch.save_file(state, tmp_path / f"{number}.safetensors")
    command = [
        sys.executable,
        TOOL,
        tmp_path / "0.safetensors",
        tmp_path / "1.safetensors",
        tmp_path / "out.safetensors",
    ]
    subprocess.run([str(part) for part in command], check=True)
    stored = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").stat().st_size < 8_000_000
    for name, values in stored.items():
        assert values.dtype == torch.float16
        mean = (states[0][name] + states[1][name]) / 2
        torch.testing.assert_close(values.float(), mean, atol=1e-3, rtol=1e-3)
