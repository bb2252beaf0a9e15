from __future__ import annotations

import re
from pathlib import Path

import pytest

from aberra.cohort import Cohort
from aberra.errors import ConfigError, InputError
from aberra.method import Method, catalogue
from aberra.registry import names
from aberra.synthesis import write_cohort
from aberra.testing import CHECKS, check_method, checks_of, parametrize_with_checks
from aberra.testing.bench import Bench, Subject

ROOT = Path(__file__).parents[2]


@pytest.fixture
def method(tmp_path, monkeypatch):
    """Return a function: model's name to the file of a method around one of the faulty models."""
    for each in ("Blind", "Shy", "Forgetful"):
        monkeypatch.setitem(names("models"), each.lower(), f"faulty_models:{each}")

    def write(model, score="direct", more=""):
        path = tmp_path / f"{model}.toml"
        learns = "nothing" if score == "direct" else "healthy"
        path.write_text(
            f'learns_from = "{learns}"\n[model]\nname = "{model}"\n[score]\nname = "{score}"\n{more}'
        )
        return path

    return write


def _failing(path):
    with pytest.raises(AssertionError, match=r"check\(s\) failed") as caught:
        check_method(path)
    return set(re.findall(r"^([a-z-]+): ", str(caught.value), re.MULTILINE))


def test_a_map_of_zeros_passes_no_check_that_looks_at_maps(method):
    assert _failing(method("blind")) >= {
        "same-seed-same-map",
        "saved-is-loaded",
        "map-on-the-scans-grid",
        "orientation",
        "batch-size",
        "batch-size-exact",
        "lesion-is-local",
        "lesion-changes-its-slices",
        "case-score-rises",
        "two-channels",
    }


def test_a_model_that_does_not_say_that_it_is_not_fitted_fails(method):
    path = method("shy", "residual", "[training]\nsamples = 32\n")
    with pytest.raises(AssertionError, match="not refused; expected NotFittedError"):
        CHECKS["unfitted"](path)


def test_a_map_that_changes_with_every_call_fails(method):
    path = method("forgetful")
    for name in ("same-seed-same-map", "saved-is-loaded", "orientation", "batch-size-exact"):
        with pytest.raises(AssertionError):
            CHECKS[name](path)


def test_exceptions_have_a_reason_and_are_strict(method):
    outcome = check_method("constant")
    assert outcome["lesion-is-local"] == Method.load("constant").conformance["xfail"]["lesion-is-local"]
    assert {check for check, result in outcome.items() if result != "passed"} == set(
        Method.load("constant").conformance["xfail"]
    )
    assert outcome.keys() == CHECKS.keys() - {"unfitted", "other-dimensions", "tuning-is-idempotent"}
    path = method("blind", more='[conformance.xfail]\ndegenerate-scans = "for no reason"\n')
    with pytest.raises(AssertionError, match=r"degenerate-scans: holds; take it out .*for no reason"):
        check_method(path)


def test_what_is_decided_by_chance_may_pass(method):
    path = method("blind", more='[conformance.xfail]\ndegenerate-scans = "by chance: it rounds"\n')
    assert "degenerate-scans" not in _failing(path)
    (marks,) = [each.marks for each in parametrize_with_checks([path]).args[1] if "degenerate" in each.id]
    assert [mark.kwargs["strict"] for mark in marks if mark.name == "xfail"] == [False]


def test_parameters_are_marked_and_share_a_worker():
    (mark,) = parametrize_with_checks(["constant", "intensity"]).args[1:]
    marks = {
        each.id: {one.name: one for one in each.marks}
        for each in mark
        if each.id.startswith("constant-lesion-is-local") or each.id.startswith("intensity-orientation")
    }
    xfail = marks["constant-lesion-is-local"]["xfail"]
    assert xfail.kwargs["strict"]
    assert xfail.kwargs["reason"]
    assert "xfail" not in marks["intensity-orientation"]
    assert marks["intensity-orientation"]["xdist_group"].args


def test_only_checks_of_what_is_learnt_are_slow():
    (cases,) = parametrize_with_checks(["ae", "vae"], slow=["ae"]).args[1:]
    slow = {each.id for each in cases if "slow" in {mark.name for mark in each.marks}}
    assert slow == {"ae-lesion-is-local", "ae-lesion-changes-its-slices", "ae-case-score-rises"}


def test_a_check_that_there_is_not_and_one_without_a_reason_are_refused(method):
    for more, message in (
        ('orientaton = "because"', "Did you mean 'orientation'"),
        ('unfitted = "because"', "unknown check"),  # not of a model that learns nothing
        ('orientation = " "', "needs a reason"),
    ):
        subject = Subject(Method.load(method("blind", more=f"[conformance.xfail]\n{more}\n")), Bench())
        with pytest.raises(ConfigError, match=message):
            checks_of(subject)


def test_a_cohort_of_ones_own(tmp_path):
    manifest = write_cohort(
        tmp_path / "own", cases=8, seed=4, contrast="flair", spacing=6.0, workers=1, progress=False
    )
    cohort = Cohort.read(manifest)
    outcome = check_method("intensity-unfiltered", cohort)
    assert outcome.pop("case-score-rises").startswith("ranks have the same mean")
    assert set(outcome.values()) == {"passed"}
    with pytest.raises(InputError, match="7 healthy cases; the checks need 8"):
        check_method("intensity", Cohort(list(cohort)[:7]))


def test_the_page_lists_the_checks():
    page = (ROOT / "docs" / "how-to" / "add-a-method.md").read_text()
    assert re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", page, re.MULTILINE) == [
        (check.name, check.summary) for check in CHECKS.values()
    ]


def test_readme_counts_methods_and_exemptions():
    readme = " ".join((ROOT / "README.md").read_text().split())
    exempt = {
        name: len(xfail) for name in catalogue() if (xfail := Method.load(name).conformance.get("xfail"))
    }
    assert f"Each of {len(catalogue())} methods passes one conformance suite" in readme
    assert f"{sum(exempt.values())} exemptions in {len(exempt)} methods" in readme
