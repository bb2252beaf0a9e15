from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.ae import AE
from aberra.models.gaussian_dae import GaussianDAE

SMALL = {"channels": 1, "size": (32, 32), "network": {"width": 4}, "latent": 8}


def _batch():
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    return Batch(x, torch.ones_like(x), torch.Generator().manual_seed(2))


def test_it_sees_noise_of_the_given_strength_in_training_only():
    model, batch = GaussianDAE(**SMALL, sigma=0.5), _batch()
    seen = []
    model.reconstruct = lambda image: seen.append(image) or image
    trained = model.loss(batch)["loss"]
    model.eval()
    assert float(model.loss(batch)["loss"]) == 0
    noise = seen[0] - batch.x
    assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0, abs=0.03)
    torch.testing.assert_close(trained, noise.abs().sum() / 3)
    assert torch.equal(seen[1], batch.x)


def test_it_is_the_autoencoder_but_for_the_noise():
    torch.manual_seed(0)
    model = GaussianDAE(**SMALL).eval()
    plain = AE(**SMALL).eval()
    plain.load_state_dict(model.state_dict())
    x = _batch().x
    assert torch.equal(model.reconstruct(x), plain.reconstruct(x))


def test_no_noise_is_refused():
    with pytest.raises(ConfigError, match="sigma=0"):
        GaussianDAE(**SMALL, sigma=0)
