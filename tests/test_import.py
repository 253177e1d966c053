"""Importing hrkit loads nothing it need not."""

from __future__ import annotations

import subprocess
import sys

import pytest

import hrkit


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_importing_loads_no_plugin_no_family_and_not_even_torch() -> None:
    loaded = _run("import hrkit, sys; print('\\n'.join(sys.modules))").split()
    assert {name for name in loaded if name.startswith("hrkit")} == {"hrkit"}
    assert not {"torch", "cv2", "timm", "torchvision", "pluggy"} & set(loaded)


@pytest.mark.slow
def test_the_pipeline_loads_no_plugin_and_no_heavy_package() -> None:
    network = "torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU6()), torch.zeros(1, 3, 8, 8)"
    code = "import sys, torch, hrkit.commands.demo, hrkit.registry as r; from hrkit.runtimes.prepare import prepare"
    code = f"{code}; prepare({network}, torch.device('cpu')); print(r.plugins._manager, *sys.modules)"
    manager, *loaded = _run(code).split()
    assert manager == "None"
    assert not {"timm", "pycocotools", "pandas", "hrkit_lite", "torch.utils.cpp_extension"} & set(loaded)
    assert not {"torchvision", "torch._dynamo", "sympy", "scipy.optimize"} & set(loaded)  # a start of seconds


@pytest.mark.slow
def test_the_list_of_commands_loads_no_network_and_no_torch() -> None:
    code = "import sys, click.testing, hrkit.cli as c; r = click.testing.CliRunner().invoke(c.main, ['--help'])"
    status, *loaded = _run(f"{code}; print(r.exit_code, *sys.modules)").split()
    assert status == "0"
    assert not {"torch", "cv2", "hrkit.pipeline"} & set(loaded)


@pytest.mark.parametrize("name", hrkit.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(hrkit, name) is not None


def test_modules_are_attributes_and_other_names_are_not() -> None:
    assert hrkit.geometry.crop_transform is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hrkit.nonsense
