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

_HOMES = {
    "Finding": "report", "PHOTO_PEOPLE": "scenes", "check_backbone": "backbones", "check_command": "commands",
    "check_dataset": "datasets", "check_decoder": "decoders", "check_detector": "detectors", "check_engine": "engines",
    "check_head": "heads", "check_plugin": "plugins", "check_runtime": "runtimes", "check_weights": "weights",
    "describe": "report", "examine_backbone": "backbones", "examine_command": "commands",
    "examine_dataset": "datasets", "examine_decoder": "decoders", "examine_detector": "detectors",
    "examine_engine": "engines", "examine_head": "heads", "examine_plugin": "plugins", "examine_runtime": "runtimes",
    "examine_weights": "weights", "photo": "scenes",
}

__all__ = [
    "PHOTO_PEOPLE", "Finding", "check_backbone", "check_command", "check_dataset", "check_decoder", "check_detector",
    "check_engine", "check_head", "check_plugin", "check_runtime", "check_weights", "describe", "examine_backbone",
    "examine_command", "examine_dataset", "examine_decoder", "examine_detector", "examine_engine", "examine_head",
    "examine_plugin", "examine_runtime", "examine_weights", "photo",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hrkit.testing' has no attribute {name!r}")
    value: object = pkgutil.resolve_name(f"hrkit.testing.{_HOMES[name]}:{name}")
    return globals().setdefault(name, value)
