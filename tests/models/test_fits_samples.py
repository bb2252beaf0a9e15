from __future__ import annotations

import pytest
import torch

from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.method import Method
from aberra.models.pca import PCA
from aberra.synthesis import write_cohort
from aberra.training import Sampler


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    return Cohort.read(
        write_cohort(
            folder, cases=3, lesions=0.0, contrast="flair", spacing=8.0, seed=1, workers=1, progress=False
        )
    )


@pytest.mark.parametrize("count", [5, 9])
def test_models_without_gradients_learn_from_training_samples(count, cohort, tmp_path, monkeypatch):
    """At most ``training.samples`` of them, those of ``Sampler.fixed``, with the fit's seed; the
    model learns from nothing else.
    """
    asked, learnt = [], []
    fixed, learn = Sampler.fixed, PCA.fit_samples

    def ask(self, number, seed):
        found = fixed(self, number, seed)
        asked.append((number, seed, found))
        return found

    def fit(self, x, mask, seed):
        learnt.append((x, mask, seed))
        learn(self, x, mask, seed)

    monkeypatch.setattr(Sampler, "fixed", ask)
    monkeypatch.setattr(PCA, "fit_samples", fit)
    method = Method.load("pca").overridden(
        {"prepare.size": 32, "model.components": 20, "training.samples": count}
    )
    detector = Detector.fit(method, cohort, out=tmp_path / "model", workers=1, seed=3)

    ((number, seed, samples),) = asked
    ((x, mask, given),) = learnt
    assert (number, seed, given) == (count, 3, 3)
    assert torch.equal(x, samples[0])
    assert torch.equal(mask, samples[1])
    assert x.shape == (count, 1, 32, 32)
    assert mask.shape == (count, 1, 32, 32)
    assert int((detector.model.components.norm(dim=1) > 0).sum()) == count - 1
    torch.testing.assert_close(detector.model.reconstruct(x), x, atol=1e-4, rtol=0)
