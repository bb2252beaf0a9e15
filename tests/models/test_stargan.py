from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.stargan import StarGAN

OWN = torch.tensor([1, 0])


def _model(**options):
    torch.manual_seed(0)
    small = {"channels": 1, "size": (16, 16), "width": 4, "blocks": 1, "critic_width": 2}
    return StarGAN(**(small | options)).eval()


def _batch(turn=""):
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    lesion = torch.zeros_like(x)
    lesion[0, :, 4:8, 4:8] = 1
    return Batch(x, torch.ones_like(x), torch.Generator().manual_seed(0), lesion=lesion, turn=turn)


def _target():
    return torch.randint(2, (2,), generator=torch.Generator().manual_seed(0))


def _part(model, x, own, target):
    made = model.translate(x, target)
    real, logits = model.critic(made)
    cycle = (model.translate(made, own) - x).abs().mean()
    return -real.mean() + F.cross_entropy(logits, target) + 10 * cycle, (made - x).abs().mean()


def test_losses_are_the_papers():
    model, batch = _model(penalty=0.0), _batch("generator")
    expected, _ = _part(model, batch.x, OWN, _target())
    torch.testing.assert_close(model.loss(batch)["loss"], expected)
    made = model.translate(batch.x, _target())
    told = F.cross_entropy(model.critic.logits(batch.x), OWN)
    expected = model.critic.score(made).mean() - model.critic.score(batch.x).mean() + told
    torch.testing.assert_close(model.loss(_batch("critic"))["loss"], expected)


def test_fixed_point_gan_adds_the_translation_to_the_own_class():
    model, batch = _model(identity=7.0), _batch("generator")
    cross, _ = _part(model, batch.x, OWN, _target())
    same, change = _part(model, batch.x, OWN, OWN)
    torch.testing.assert_close(model.loss(batch)["loss"], cross + same + 7 * change)


def test_a_generator_of_nothing_is_the_identity_of_the_residual():
    model = _model(identity=7.0, residual=True)
    torch.nn.init.zeros_(model.generator.layers[-1].weight)
    found = model.loss(_batch("generator"))
    assert found["identity"].item() == found["cycle"].item() == 0.0
    torch.testing.assert_close(model.reconstruct(_batch().x), _batch().x)


def test_validation_watches_no_adversarial_term():
    model = _model(identity=7.0)
    before = model.loss(_batch())["loss"].item()
    with torch.no_grad():
        model.critic.judge.weight.mul_(1000)
    assert model.loss(_batch())["loss"].item() == pytest.approx(before, rel=1e-4)


def test_slices_alone():
    with pytest.raises(ConfigError, match=r"prepare\.dims=2"):
        _model(size=(16, 16, 16))
