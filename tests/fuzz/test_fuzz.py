"""Ten thousand changed inputs: each gives a right result or an AberraError.

``scripts/fuzz`` runs more of them.
"""

from __future__ import annotations

import pytest

from fuzz.engine import campaign
from fuzz.targets import TARGETS

SHARE = {
    "detector": 150,
    "dicom-tags": 400,
    "dicom-bytes": 400,
    "manifest": 500,
    "method": 600,
    "suite": 300,
    "result": 300,
}
"""Inputs of the slower targets; the others get the rest of the ten thousand."""

REST = (10_000 - sum(SHARE.values())) // (len(TARGETS) - len(SHARE))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_changed_inputs_give_a_right_result_or_a_typed_error(target, tmp_path):
    count = SHARE.get(target.name, REST)
    tally = campaign(target, 0, range(count), tmp_path)
    assert tally.inputs == count
    assert not tally.crashed, (
        f"{len(tally.crashed)} of {count}: input {tally.crashed[0][0]}\n{tally.crashed[0][1]}"
    )
    assert tally.refused > count // 10
