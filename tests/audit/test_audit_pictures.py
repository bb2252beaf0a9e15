"""Codes of scans, and images that codes stand for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from aberra.audit.pictures import code_of, sheets
from aberra.detector.windows import Runner
from aberra.models.vae import VAE
from small_scans import scan

SIZE = (20, 20)


class Places:
    """A code with places, as of a spatial VAE; images of four numbers."""

    def code(self, x):
        return x.flatten(2)[:, :, :8].expand(-1, 4, -1)

    def latent_shape(self):
        return (4,)

    def generate(self, z):
        return z[:, :1, None, None].expand(-1, 1, *SIZE)


@pytest.fixture
def detector():
    return SimpleNamespace(model=Places(), runner=Runner(dims=2, size=SIZE, batch_size=4, device="cpu"))


def test_places_of_a_code_are_averaged(detector):
    code = code_of(detector, scan())
    assert code.shape == (4,)
    assert np.isfinite(code).all()


def test_a_model_makes_sheets_of_draws_and_of_shells(detector):
    made = sheets(detector)
    assert len(made) == 2
    assert all(each.startswith("data:image/png;base64,") for each in made.values())


def test_a_vae_of_a_vector_makes_them_too(detector):
    vae = VAE(channels=1, dims=2, size=(32, 32), latent=4)
    assert len(sheets(SimpleNamespace(model=vae.eval(), runner=detector.runner))) == 2


def test_other_models_have_neither(detector):
    plain = SimpleNamespace(model=object(), runner=detector.runner)
    assert code_of(plain, scan()) is None
    assert sheets(plain) == {}
