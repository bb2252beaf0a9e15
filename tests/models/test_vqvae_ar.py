from __future__ import annotations

from math import log

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import FitsDensity, HasCodePrior, Reconstructs, Trains
from aberra.errors import ConfigError, NotFittedError
from aberra.models.vqvae_ar import VQVAEAR


def _model(**options):
    torch.manual_seed(0)
    small = {
        "encoder": {"network": {"width": 4}, "words": 8, "latent": 4},
        "density": {"width": 8, "blocks": 1, "epochs": 2},
    }
    return VQVAEAR(**({"channels": 1, "size": (32, 32)} | small | options)).eval()


def _x(count=6, size=(32, 32)):
    return torch.rand(count, 1, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(32, 32), (16, 32, 16)])
def test_likely_words_are_those_of_the_image_and_make_its_reconstruction(size):
    model, x = _model(dims=len(size), size=size), _x(size=size)
    for capability in (Trains, FitsDensity, Reconstructs, HasCodePrior):
        assert isinstance(model, capability)
    model.density.fitted.fill_(True)  # noqa: FBT003  (all words are alike)
    spelt = model.encoder.spell(x)
    torch.testing.assert_close(model.surprise(x), torch.full(spelt.shape, log(8)))
    for image in model.resampled(x, log(8) + 1e-3, 2):
        torch.testing.assert_close(image, model.reconstruct(x))


def test_words_that_are_drawn_anew_make_another_image():
    model, x = _model(), _x()
    model.density.fitted.fill_(True)  # noqa: FBT003
    first, second = model.resampled(x, 1.0, 2)
    (words, _) = model.density.resampled(model.encoder.spell(x), 1.0, 2)
    torch.testing.assert_close(first, model.encoder.read(words))
    assert not torch.allclose(first, second)


def test_the_training_is_the_autoencoders_and_leaves_the_density_alone():
    model, x = _model(), _x()
    model.train()
    losses = model.loss(Batch(x, torch.ones_like(x), torch.Generator().manual_seed(0)))
    assert losses.keys() == {"loss", "reconstruction", "commitment"}
    assert not any(weight.requires_grad for weight in model.density.parameters())


def test_the_density_learns_the_words_of_the_samples():
    model, x = _model(), _x(20)
    chosen = model.fit_density(x[:15], x[15:], seed=0)
    watched = model.surprise(x[15:]).mean()
    assert chosen["validation"] == pytest.approx(float(watched), abs=1e-3)
    assert watched < log(8)
    again = _model()
    assert again.fit_density(x[:15], x[15:], seed=0) == chosen
    alone = _model().fit_density(x, x[:0], seed=0)
    assert alone.keys() == chosen.keys()


def test_what_cannot_be_is_refused():
    with pytest.raises(NotFittedError, match="code-ar: not fitted"):
        _model().surprise(_x())
    with pytest.raises(ConfigError, match=r"model.encoder=ae: expected a model that spells: vqvae"):
        _model(encoder="ae")
    with pytest.raises(ConfigError, match=r"model.density=gmm: expected a density of words: code-ar"):
        _model(density="gmm")
