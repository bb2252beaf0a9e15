"""What TensorBoard is told of a training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aberra.cohort import Cohort
from aberra.errors import ConfigError
from aberra.method import Method
from aberra.models.vae import VAE
from aberra.training import TrainingConfig, board, train
from aberra.training.sampling import Sampler
from aberra.volume import Volume
from aberra.workflows.fit import fit
from small_scans import cohort


def _train(run, **options):
    rng = np.random.default_rng(0)
    scans = [
        Volume(data=rng.random((1, 4, 16, 16), dtype=np.float32), affine=np.eye(4), mask=np.ones((4, 16, 16), bool))
        for _ in range(2)
    ]  # fmt: skip
    torch.manual_seed(0)
    model = VAE(channels=1, dims=2, size=(16, 16), network={"width": 4}, latent=4)
    config = TrainingConfig(steps=6, batch_size=2, checkpoint_every=3, validate_every=2, log_every=1)
    return train(model, scans, config, run, validation=scans, dims=2, size=(16, 16), device="cpu", **options)


def _events(run):
    found = EventAccumulator(str(run / board.FOLDER))
    found.Reload()
    return found


def _said(run, key):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], pytest.approx(row[key], rel=1e-6)) for row in rows if key in row]


def test_the_events_are_the_metrics_and_the_pictures(tmp_path):
    _train(tmp_path, tensorboard=True)
    events = _events(tmp_path)
    for tag, key in (("training/loss", "loss"), ("training/rate", "rate"), ("validation/loss", "validation")):
        assert [(each.step, each.value) for each in events.Scalars(tag)] == _said(tmp_path, key)
    assert [each.step for each in events.Scalars("training/loss")] == [1, 2, 3, 4, 5, 6]
    assert events.Tags()["images"] == ["loss", "reconstructions"]
    (picture,) = events.Images("loss")
    assert (picture.step, picture.width > 100) == (6, True)


def test_a_run_that_was_killed_says_no_step_twice(tmp_path, monkeypatch):
    draw = Sampler.draw

    def killed(self, seed, count):
        if seed[1] == 5:
            raise RuntimeError("killed")
        return draw(self, seed, count)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "draw", killed)
        with pytest.raises(RuntimeError, match="killed"):
            _train(tmp_path, tensorboard=True, workers=1)
    whole = [each.step for each in _events(tmp_path).Scalars("training/loss")]
    assert whole == [1, 2, 3, 4, 5]  # what it said before it was killed is there
    _train(tmp_path, tensorboard=True)  # goes on from the checkpoint of step 3
    assert [(each.step, each.value) for each in _events(tmp_path).Scalars("training/loss")] == _said(tmp_path, "loss")  # fmt: skip
    assert len(list((tmp_path / board.FOLDER).glob("events.*"))) == 2


def test_what_is_learnt_does_not_depend_on_it_and_without_nothing_is_written(tmp_path):
    one, other = _train(tmp_path / "a", tensorboard=True), _train(tmp_path / "b")
    assert one["best_validation"] == other["best_validation"]
    assert not (tmp_path / "b" / board.FOLDER).exists()


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(board, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'aberra\[tensorboard\]'"):
        fit(Method.load("ae"), Cohort.read(cohort(tmp_path)), out=tmp_path / "out", tensorboard=True)
    assert not (tmp_path / "out").exists()


def test_a_model_without_steps_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="'pca' is not trained step by step"):
        fit(Method.load("pca"), Cohort.read(cohort(tmp_path)), out=tmp_path / "out", tensorboard=True)


def test_a_fit_has_its_events_in_the_folder_of_its_run(tmp_path):
    settings = {"prepare.size": 16, "training.steps": 2, "training.log_every": 1, "model.network.width": 4}
    fit(Method.load("ae", settings), Cohort.read(cohort(tmp_path, split=True)), out=tmp_path / "out", device="cpu", tensorboard=True)  # fmt: skip
    assert len(_events(tmp_path / "out" / "run").Scalars("training/loss")) == 2
