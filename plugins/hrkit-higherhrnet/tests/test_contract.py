"""Everything that the plugin registers keeps hrkit's contract."""

import pytest

from hrkit.testing import describe, examine_plugin
from hrkit.weights import catalogue


@pytest.mark.slow
def test_it_keeps_the_contract(shallow: None) -> None:
    weights = [entry.name for width in (32, 48) for entry in catalogue.entries(f"higher_hrnet_w{width}", "pose")]
    findings = list(examine_plugin("higherhrnet", ["higher_hrnet_w4", "higher", *weights]))
    wrong = [finding for finding in findings if finding.verdict == "wrong"]
    assert not wrong, describe(wrong)
    said = {(finding.part, finding.check): finding.verdict for finding in findings}
    assert said["head higher", "a batch is its people alone"] == "ok"
    assert said["backbone higher_hrnet_w4", "a batch is its people alone"] == "ok"
    assert len({part for part, _ in said if part.startswith("weights")}) == 6
