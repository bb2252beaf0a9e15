"""Sites and classes of a batch: how the sampler draws them."""

from __future__ import annotations

import numpy as np
import pytest

from aberra.errors import TrainingError
from aberra.models.l2i import L2I
from aberra.training import TrainingConfig, train
from aberra.training.sampling import Sampler, samplers
from aberra.volume import Volume

PEOPLE = (("a", 0), ("a", 1), ("b", 0), ("b", 0), ("c", 1), ("", 0))
"""Site and class of each case; only site a has both."""


def _volumes(people=PEOPLE, shape=(4, 16, 16)):
    found = []
    for number, (site, sick) in enumerate(people):
        lesion = np.zeros(shape, bool)
        lesion[:, 4:6, 4:6] = sick
        found.append(
            Volume(
                data=np.full((1, *shape), number, np.float32) + np.random.default_rng(number).random(shape)[None].astype(np.float32) / 2,
                affine=np.eye(4), mask=np.ones(shape, bool), lesion=lesion, covariates={"site": site} if site else {},
            )
        )  # fmt: skip
    return found


def _sampler(config=None, **options):
    chosen = {"dims": 2, "size": (16, 16), "lesions": True, "covariates": ("site=a",)} | options
    return Sampler(_volumes(), config or TrainingConfig(), **chosen)


def _numbers(x):
    """Of the cases that samples are of."""
    return np.floor(x.amin(dim=(1, 2, 3)).numpy()).astype(int)


def test_samples_know_whether_they_are_of_a_site():
    x, _, _, known = _sampler().draw([0, 0, 0], 40)
    expected = np.array([1, 1, 0, 0, 0, np.nan])[_numbers(x)]
    np.testing.assert_array_equal(known[:, 0], expected)


def test_behind_a_batch_come_a_healthy_and_a_diseased_sample_of_the_target():
    plain, anchored = _sampler(), _sampler(anchor="site=a")
    for step in range(5):
        before, after = (each.draw([0, step, 0], 6) for each in (plain, anchored))
        assert len(before[0]) == 6
        assert len(after[0]) == 8
        assert np.array_equal(before[0], after[0][:6])
        assert _numbers(after[0][6:]).tolist() == [0, 1]
        assert after[2][6:].amax(dim=(1, 2, 3)).tolist() == [0, 1]
    assert len(anchored.fixed(5, 0)[0]) == 5


def test_balanced_batches_have_as_many_of_each_class():
    sampler = _sampler(TrainingConfig(classes="balanced", balance=1.0))
    for step in range(3):
        lesion = sampler.draw([0, step, 0], 10)[2]
        assert lesion.flatten(1).amax(dim=1).sum() == 5


def test_a_target_without_both_classes_is_refused():
    model = L2I(channels=1, size=(16, 16), width=4, target="b", blocks=(1, 1, 1))
    with pytest.raises(TrainingError, match="samples of site b; there is no diseased one"):
        samplers(model, _volumes(), (), TrainingConfig(), dims=2, size=(16, 16))


def test_a_target_that_is_not_there_is_refused_with_those_that_are():
    model = L2I(channels=1, size=(16, 16), width=4, target="d", blocks=(1, 1, 1))
    with pytest.raises(
        TrainingError, match=r"model.target=d: no training case has this site; there are: a, b, c, nothing"
    ):
        samplers(model, _volumes(), (), TrainingConfig(), dims=2, size=(16, 16))


def test_a_cohort_without_sites_is_refused_by_the_column():
    model = L2I(channels=1, size=(16, 16), width=4, target="a", blocks=(1, 1, 1))
    with pytest.raises(TrainingError, match="learns from site, but no training case"):
        samplers(model, _volumes((("", 0), ("", 1))), (), TrainingConfig(), dims=2, size=(16, 16))


def test_it_trains_in_the_loop_and_watches_the_target(tmp_path):
    model = L2I(channels=1, size=(16, 16), width=4, target="a", blocks=(1, 1, 1))
    config = TrainingConfig(steps=4, batch_size=4, validate_every=2, weight_decay=5e-5)
    before = model.head.centres.raw.detach().clone()
    found = train(
        model, _volumes(), config, tmp_path, validation=_volumes(), dims=2, size=(16, 16), device="cpu"
    )
    assert found["best_validation"] > 0
    assert not np.array_equal(before, model.head.centres.raw.detach())
