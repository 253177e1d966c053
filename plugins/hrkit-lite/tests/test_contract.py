"""All that the plugin registers keeps hrkit's contract."""

from types import ModuleType

import pytest

from hrkit.testing import describe, examine_plugin


@pytest.mark.slow
def test_it_keeps_the_contract(registered: ModuleType, one_thread: None) -> None:
    findings = list(examine_plugin("lite"))
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    assert not wrong, describe(wrong)
    said = {(finding.part, finding.check): finding.verdict for finding in findings}
    for check in ("expected people are found", "boxes are x1, y1, x2, y2 in frame px", "threads"):
        assert said["detector lite_person", check] == "ok"
    assert {part for part, _ in said} >= {"backbone lite", "backbone lite_plus", "head lite"}
    for weights in ("lite_person", "lite-coco-192x160", "lite-coco-256x192", "lite_plus-coco-256x192"):
        assert said[f"weights {weights}", "the carried file loads"] == "ok"
