"""What the plugin registers keeps hrkit's contract."""

from __future__ import annotations

import pytest

from hrkit.testing import describe, examine_plugin
from hrkit.weights import catalogue


def _examined(*parts: str) -> dict[tuple[str, str], str]:
    findings = list(examine_plugin("rtm", parts))
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    assert not wrong, describe(wrong)
    return {(finding.part, finding.check): finding.verdict for finding in findings}


@pytest.mark.slow
def test_heads_codec_and_weights() -> None:
    entries = [entry.name for entry in catalogue.entries() if entry.model.startswith(("rtm", "cspnext_"))]
    said = _examined("rtmcc", "rtmw", "simcc", *entries)
    assert said["head rtmcc", "heatmaps (N,K,H/4,W/4)"] == "ok"
    assert said["head rtmw", "a batch is its people alone"] == "ok"
    assert said["decoder simcc", "round trip within half a cell"] == "ok"
    assert len({part for part, _ in said if part.startswith("weights")}) == 75


@pytest.mark.slow
def test_smallest_networks() -> None:
    said = _examined("rtmpose_t", "rtmdet_nano")
    assert said["backbone rtmpose_t", "a batch is its people alone"] == "ok"
    assert said["detector rtmdet_nano", "prepared for devices"] == "ok"
