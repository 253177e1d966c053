"""Batch norms go where they belong and nowhere else, and what is missing is said."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import Tensor, nn

from hrkit.errors import HrkitError
from hrkit.runtimes.conversion import require, to_onnx, to_openvino, to_program
from hrkit.runtimes.exported import OnnxNetwork
from trained_like import trained_like

EXAMPLE = torch.zeros(1, 3, 16, 12)


def _norms(program: torch.export.ExportedProgram) -> int:
    return len(program.graph.find_nodes(op="call_function", target=torch.ops.aten.batch_norm.default))


class Corners(nn.Module):
    """Every way in which a batch norm may or may not follow a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.biased = nn.Conv2d(4, 4, 3, padding=1)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.up = nn.ConvTranspose2d(4, 4, 4, 2, 1, bias=False)
        self.grouped_up = nn.ConvTranspose2d(4, 4, 4, 2, 1, groups=2)
        self.used_twice = nn.Conv2d(4, 4, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(7))
        self.norms[1] = nn.BatchNorm2d(4, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        for part, norm in zip(
            (self.plain, self.biased, self.grouped, self.up, self.grouped_up), self.norms, strict=False
        ):
            x = norm(part(x)).relu()
        y = self.used_twice(x)
        return self.norms[6](self.norms[5](y) + y)  # one shares its convolution, the other has none


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


@pytest.mark.slow
def test_batch_norms_are_folded_where_they_can_be() -> None:
    network = trained_like(Corners())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    program = to_program(network, EXAMPLE)
    assert _norms(program) == 3  # after groups of a transposed convolution, and the last two
    for size in (1, 2, 5):
        images = torch.randn(size, 3, 16, 12)
        torch.testing.assert_close(program.module()(images), network(images), rtol=1e-4, atol=1e-5)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.slow
def test_what_cannot_be_followed_is_one_line() -> None:
    with pytest.raises(HrkitError, match=r"^Branches cannot be exported \(.+\)$"):
        to_program(Branches().eval(), EXAMPLE)


@pytest.mark.parametrize(("extra", "package"), [("onnx", "onnxscript"), ("openvino", "openvino"), ("int8", "nncf")])
def test_missing_packages(extra: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(HrkitError, match=rf"^not installed: {package}; pip install 'hrkit-pose\[{extra}\]'$"):
        require(extra)


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x + 2


@pytest.mark.slow
def test_onnx_networks_with_several_outputs() -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    model = to_onnx(Two().eval(), EXAMPLE, outputs=["one", "two"])
    assert [value.name for value in model.graph.output] == ["one", "two"]
    found = OnnxNetwork(model.SerializeToString())(EXAMPLE)
    assert isinstance(found, tuple)
    for ours, wanted in zip(found, Two()(EXAMPLE), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_openvino_networks_with_several_outputs() -> None:
    pytest.importorskip("openvino")
    model = to_openvino(Two().eval(), EXAMPLE, outputs=["one", "two"])
    assert [output.any_name for output in model.outputs] == ["one", "two"]
