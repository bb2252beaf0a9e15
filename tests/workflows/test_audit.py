"""``audit``: which score sees lesions, which sees scanners, and which case is not to be trusted."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from aberra.audit.judge import Seen, judge
from aberra.audit.measures import REFERENCE, entanglement, summary
from aberra.audit.shift import ShiftScore
from aberra.cohort import Cohort
from aberra.errors import CalibrationError, ConfigError, OutputError
from aberra.workflows.audit import audit
from small_scans import cohort, detector, scan

CASES = 20


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A detector, twenty healthy scans, and four of a noisy scanner, two with a lesion."""
    folder = tmp_path_factory.mktemp("audit")
    (folder / "fit").mkdir()
    fitted = cohort(folder / "fit", 4)  # the first four of the reference, which are left out therefore
    manifest = cohort(folder, 4 + CASES)
    rows = ["case,patient,image,label"]
    for number in range(4):
        plain = scan(100 + number)
        data = plain.data + 0.4 * (plain.data > 0) * np.random.default_rng(number).random(plain.data.shape)
        if number % 2:
            data[:, 1:5, 6:13, 6:13] *= 9
        plain.with_(data=data.astype(np.float32)).write(folder / f"other{number}.nii.gz")
        rows.append(f"o{number},q{number},other{number}.nii.gz,{number % 2}")
    (folder / "noisy.csv").write_text("\n".join(rows) + "\n")
    return detector("intensity", fitted, folder / "model"), Cohort.read(manifest), Cohort.read(folder / "noisy.csv"), folder  # fmt: skip


@pytest.fixture(scope="module")
def found(place):
    model, reference, noisy, folder = place
    return audit(model, reference, {"noisy": noisy}, out=folder / "audit", match=True)


def test_scans_of_another_scanner_are_not_trusted(found):
    noisy = [row for row in found.rows if row.cohort == "noisy"]
    assert len(noisy) == 4
    assert not any(row.trusted for row in noisy)
    assert all(row.reasons for row in noisy)
    own = [row for row in found.rows if row.cohort == REFERENCE]
    assert CASES <= len(own) < 4 + CASES
    assert any("learnt from" in note for note in found.notes)
    assert sum(not row.trusted for row in own) <= 2


def test_the_summary_has_every_cohort_and_score(found):
    rows = {(row["cohort"], row["score"]): row for row in found.summary}
    assert {cohort for cohort, _ in rows} == {REFERENCE, "noisy", "noisy, matched"}
    shift = rows["noisy", "shift"]
    assert (shift["false_alarm"], shift["lesional_shift"], shift["abstained"]) == (1.0, 1.0, 1.0)
    assert rows["noisy", "score"]["within"] == 1.0
    assert rows[REFERENCE, "score"]["within"] is None


def test_files_hold_what_is_returned(found):
    content = json.loads((found.folder / "audit.json").read_text())
    assert content["summary"] == found.summary
    with (found.folder / "cases.csv").open(newline="") as file:
        assert [row["case"] for row in csv.DictReader(file)] == [row.case for row in found.rows]
    page = (found.folder / "audit.html").read_text()
    assert "noisy, matched" in page
    assert "http" not in page


def test_healthy_scans_of_the_site_adapt_and_are_not_counted(place, found):
    model, reference, noisy, folder = place
    adapted = audit(model, reference, {"noisy": noisy}, out=folder / "adapted", adapt=1, neighbours=1)
    rows = {row.case: row for row in adapted.rows}
    before = {row.case: row for row in found.rows if row.cohort == "noisy"}
    assert rows["o0"].adapted
    assert rows["o2"].adjusted != before["o2"].adjusted
    assert rows["o2"].score == before["o2"].score
    assert next(row for row in adapted.summary if row["cohort"] == "noisy")["healthy"] == 1


def test_what_cannot_be_audited_is_refused(place):
    model, reference, noisy, folder = place
    with pytest.raises(ConfigError, match="no cohort to test"):
        audit(model, reference, {}, out=folder / "none")
    with pytest.raises(CalibrationError, match="needs 19"):
        audit(model, Cohort(list(reference)[:9]), {"noisy": noisy}, out=folder / "few")
    with pytest.raises(OutputError, match="'reference' is a name of aberra's own"):
        audit(model, reference, {"reference": noisy}, out=folder / "names")


def test_entanglement_is_the_share_of_the_scanner():
    assert entanglement(1.0, 0.5) == 0.0
    assert entanglement(0.75, 0.75) == entanglement(0.75, 0.25) == 0.5
    assert entanglement(0.4, 1.0) == 1.0
    assert entanglement(0.5, 0.5) is None
    assert entanglement(None, 0.7) is None


def test_a_lesion_score_that_moves_with_the_scanner_is_put_right_by_its_neighbours():
    rng = np.random.default_rng(0)
    reference = [
        Seen(case=f"r{n}", cohort=REFERENCE, lesion=False, score=1 + 0.1 * rng.normal(), features=rng.normal(size=2))
        for n in range(20)
    ]  # fmt: skip

    def there(number, lesion, adapted):
        return Seen(
            case=f"s{number}", cohort="site", lesion=lesion, score=3 + 0.1 * rng.normal() + 0.5 * lesion,
            features=rng.normal(size=2) + 20, adapted=adapted,
        )  # fmt: skip

    home = [replace(each, case=f"h{n}", cohort="home", lesion=True, score=each.score + 0.5) for n, each in enumerate(reference)]  # fmt: skip
    site = [there(n, lesion=n % 2 == 1, adapted=False) for n in range(20)]
    given = [there(20 + n, lesion=False, adapted=True) for n in range(10)]
    shift = ShiftScore.of(np.stack([each.features for each in reference]), np.zeros((0, 2)), ("a", "b"))
    without = summary(judge([*reference, *home, *site], shift, level=0.05), level=0.05)
    with_given = summary(judge([*reference, *home, *site, *given], shift, level=0.05), level=0.05)
    raw, _, seen = (row for row in without if row["cohort"] == "site")
    assert raw["within"] > 0.95
    assert raw["across"] < 0.9
    assert raw["entanglement"] == pytest.approx(0.5, abs=0.05)
    assert seen["false_alarm"] == 1.0
    adjusted = next(row for row in with_given if (row["cohort"], row["score"]) == ("site", "adjusted"))
    assert adjusted["across"] > raw["across"] + 0.05


def test_a_calibration_is_moved_to_a_site_by_few_scans(place):
    model, _, noisy, folder = place
    scores = [0.1 + 0.001 * number for number in range(20)]
    known = model.with_(calibration=replace(model.calibration, scores=scores, n_cases=20))
    site = Cohort([replace(case, label=0) for case in noisy], source=noisy.source)
    moved = known.calibrate(site, adapt=3, out=folder / "moved").calibration
    assert moved.n_cases == 23
    assert moved.thresholds != known.calibration.thresholds
    with pytest.raises(CalibrationError, match="--adapt moves"):
        known.calibrate(site, adapt=3, group_by="site", out=folder / "grouped")
