"""An ensemble is fitted by one command, each member as a fit of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from aberra.cohort import Cohort
from aberra.cohort.splits import split_by_patient
from aberra.detector import Detector
from aberra.errors import ConfigError, MismatchError, TrainingError
from aberra.jobs.processes import Processes
from aberra.method import Method
from aberra.workflows import members
from aberra.workflows.fit import fit
from small_scans import cohort

QUICK = {
    "training.steps": 3,
    "training.batch_size": 4,
    "prepare.size": 16,
    "model.members": 3,
    "model.member.network.width": 4,
    "model.member.latent": 4,
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return Cohort.read(cohort(tmp_path_factory.mktemp("members"), 6, split=True))


@pytest.fixture(scope="module")
def ensemble(scans, tmp_path_factory):
    """Fitted one after the other, with seed 1."""
    out = tmp_path_factory.mktemp("ensemble") / "model"
    return Detector.fit(Method.load("waic", QUICK), scans, out=out, seed=1, workers=1)


def _same(one, other):
    return all(torch.equal(one[key], other[key]) for key in one)


def test_a_member_is_the_fit_of_its_seed(ensemble, scans, tmp_path):
    method = replace(
        ensemble.method, model=ensemble.model.member_config(), score={"name": "residual"}, case={}
    )
    assert ensemble.facts["member_seeds"] == [3, 4, 5]
    alone = fit(method, scans, out=tmp_path / "alone", seed=4, workers=1)
    first, second, _ = (each.state_dict() for each in ensemble.model.members())
    assert _same(second, alone.model.state_dict())
    assert not _same(first, second)


def test_it_is_one_detector(ensemble, scans):
    loaded = Detector.load(ensemble.folder)
    assert loaded.identity == ensemble.identity
    assert ensemble.calibration is not None
    assert ensemble.facts["members"] == 3
    assert ensemble.facts["training_steps"] == 3
    assert len(ensemble.facts["member_best_validation"]) == 3
    again = Detector.fit(
        Method.load("waic", QUICK), scans, out=ensemble.folder, seed=1, workers=1, resume=True
    )
    assert again.identity == ensemble.identity


def test_members_that_learn_apart_are_the_same(ensemble, scans, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "at_once", lambda *_: 2)
    apart = Detector.fit(Method.load("waic", QUICK), scans, out=tmp_path / "apart", seed=1, workers=1)
    for one, other in zip(ensemble.model.members(), apart.model.members(), strict=True):
        assert all(
            torch.allclose(one.state_dict()[key], value, atol=1e-6)  # another number of threads may round
            for key, value in other.state_dict().items()
        )


def test_what_is_finished_is_kept_after_an_interruption(scans, tmp_path, monkeypatch):
    asked = []

    def interrupted(*args, **options):
        asked.append(options["out"].name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr("aberra.workflows.learn.learn_members", lambda _, *args, **options: members.learn_members(interrupted, *args, **options))  # fmt: skip
    method, out = Method.load("waic", QUICK), tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        Detector.fit(method, scans, out=out, workers=1)
    kept = (out / "run" / "member-0" / "detector.toml").stat().st_mtime_ns
    detector = Detector.fit(method, scans, out=out, workers=1)
    assert asked == ["member-0", "member-1", "member-0", "member-1", "member-2"]
    assert (out / "run" / "member-0" / "detector.toml").stat().st_mtime_ns == kept
    assert detector.facts["members"] == 3


def test_a_member_that_fails_says_which_and_why(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(members, "at_once", lambda *_: 2)
    nobody = split_by_patient(scans, {"train": 0.5, "val": 0.5}).select(split="val")
    with pytest.raises(TrainingError, match=r"no healthy case in split 'train'"):
        Detector.fit(Method.load("waic", QUICK), nobody, out=tmp_path / "model", workers=1)


def test_parts_in_any_order_are_the_whole(ensemble, scans, tmp_path, capfd):
    method, out = Method.load("waic", QUICK), tmp_path / "model"
    with pytest.raises(SystemExit) as ended:
        Detector.fit(method, scans, out=out, seed=1, workers=1, part="2/2")
    assert not ended.value.code  # a part is no failure
    assert "2 of 3 members are not yet" in capfd.readouterr().err
    assert not (out / "detector.toml").exists()
    whole = Detector.fit(method, scans, out=out, seed=1, workers=1, part="1/2")
    assert _same(whole.model.state_dict(), ensemble.model.state_dict())
    assert whole.calibration.to_json() == ensemble.calibration.to_json()


def test_what_is_one_job_is_not_shared_out(scans, tmp_path):
    for options in ({"part": "1/2"}, {"on": Processes(2)}):
        with pytest.raises(ConfigError, match=r"vae: one model is one job.*torchrun"):
            Detector.fit("vae", scans, out=tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()
    with pytest.raises(MismatchError, match=r"no part '4/4' of 3 member"):
        Detector.fit(Method.load("waic", QUICK), scans, out=tmp_path / "other", workers=1, part="4/4")


def test_an_ensembles_training_is_that_of_all_its_members():
    facts = [
        {"training_steps": 5, "training_seconds": 1.25, "training_late_gain": 0.1, "training_cases": 9},
        {"training_steps": 7, "training_seconds": 2.5, "training_best_validation": 3.0},
    ]
    expected = {"training_steps": 7, "training_seconds": 3.8, "training_late_gain": 0.1}
    assert members.together(facts) == expected | {"member_best_validation": [3.0]}
    assert members.together([{}, {}]) == {}
