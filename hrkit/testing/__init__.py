"""A kit for authors of plugins: checks of what the contract in `hrkit.hookspecs` asks for.

>>> from hrkit.testing import check_detector, describe
>>> findings = check_detector(MyDetector())
>>> assert not findings, describe(findings)

Each `check_<kind>` returns a list of what is wrong; `examine_<kind>` yields every finding as soon as it is known. Both
take `part`, the name of the part in findings. `check_plugin` goes through all that an installed plugin registers, as
`hrkit plugins check` does. `hrkit.testing.fixtures` has fixtures for pytest.

The names of this package are imported when they are first used, because `hrkit plugins new` needs none of them.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hrkit.testing.backbones import check_backbone, examine_backbone
    from hrkit.testing.commands import check_command, examine_command
    from hrkit.testing.datasets import check_dataset, examine_dataset
    from hrkit.testing.decoders import check_decoder, examine_decoder
    from hrkit.testing.detectors import check_detector, examine_detector
    from hrkit.testing.engines import check_engine, examine_engine
    from hrkit.testing.heads import check_head, examine_head
    from hrkit.testing.plugins import check_plugin, examine_plugin
    from hrkit.testing.report import Finding, describe
    from hrkit.testing.runtimes import check_runtime, examine_runtime
    from hrkit.testing.scenes import PHOTO_PEOPLE, photo
    from hrkit.testing.weights import check_weights, examine_weights

_KINDS = ("backbone", "command", "dataset", "decoder", "detector", "engine", "head", "plugin", "runtime")
_HOME = {
    **{f"{verb}_{kind}": f"{kind}s" for verb in ("check", "examine") for kind in _KINDS},
    **dict.fromkeys(("check_weights", "examine_weights"), "weights"),
    **dict.fromkeys(("Finding", "describe"), "report"),
    **dict.fromkeys(("PHOTO_PEOPLE", "photo"), "scenes"),
}
"""The module of each name."""

__all__ = [
    "PHOTO_PEOPLE", "Finding", "check_backbone", "check_command", "check_dataset", "check_decoder", "check_detector",
    "check_engine", "check_head", "check_plugin", "check_runtime", "check_weights", "describe", "examine_backbone",
    "examine_command", "examine_dataset", "examine_decoder", "examine_detector", "examine_engine", "examine_head",
    "examine_plugin", "examine_runtime", "examine_weights", "photo",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hrkit.testing' has no attribute {name!r}")
    value: object = pkgutil.resolve_name(f"hrkit.testing.{_HOME[name]}:{name}")
    return globals().setdefault(name, value)
