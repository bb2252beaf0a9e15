from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.d_cls import DCls
from aberra.models.descargan import DeScarGAN

OWN = torch.tensor([1, 0, 0, 0])


def _model(**options):
    torch.manual_seed(0)
    small = {"channels": 1, "size": (32, 32), "width": 4, "critic_width": 2, "noise": 0.0}
    return DeScarGAN(**(small | options)).eval()


def _batch(turn=""):
    x = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    lesion = torch.zeros_like(x)
    lesion[0, :, 4:8, 4:8] = 1
    return Batch(x, torch.ones_like(x), torch.Generator().manual_seed(0), lesion=lesion, turn=turn)


class _Identity(torch.nn.Module):
    def forward(self, x, target):
        del target
        return x


def test_the_identity_has_no_identity_and_no_cycle_error():
    model = _model()
    model.generator = _Identity()
    found = model.loss(_batch("generator"))
    assert found["identity"].item() == found["cycle"].item() == 0.0
    torch.testing.assert_close(model.reconstruct(_batch().x), _batch().x)


def test_the_generators_loss_is_the_papers():
    model, batch = _model(translate="other", adversarial=2.0, classification=3.0), _batch("generator")
    other = model.translate(batch.x, 1 - OWN)
    same, back = model.translate(batch.x, OWN), model.translate(other, OWN)
    scores, logits = model.critic(other)
    adversarial = -scores[torch.arange(4), 1 - OWN].mean()
    told = F.cross_entropy(logits, 1 - OWN)
    expected = 2 * adversarial + 3 * told
    expected = expected + 50 * ((back - batch.x) ** 2).mean() + 50 * ((same - batch.x) ** 2).mean()
    torch.testing.assert_close(model.loss(batch)["loss"], expected)


def test_the_generator_is_asked_for_the_other_class():
    """The class loss falls as the critic takes the translation for one of the other class."""
    model = _model(translate="other", adversarial=0.0, reconstruction=0.0, identity=0.0)
    last = model.critic.head[-1]
    for certainty, expected in ((5.0, 0.0), (-5.0, 10.0)):  # all healthy, all diseased
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor([certainty, -certainty]))
        batch = _batch("generator")
        ill = batch._replace(x=batch.x[:1], lesion=batch.lesion[:1])
        assert model.loss(ill)["loss"].item() == pytest.approx(expected, abs=1e-3)


def test_the_critics_loss_is_the_papers():
    model, batch = _model(translate="other", penalty=0.0), _batch("critic")
    fake = model.critic.score(model.translate(batch.x, 1 - OWN), 1 - OWN).mean()
    real = model.critic.score(batch.x, OWN).mean()
    told = F.cross_entropy(model.critic.logits(batch.x), OWN)
    found = model.loss(batch)
    torch.testing.assert_close(found["loss"], 20 * (fake - real) + 5 * told)
    found["loss"].backward()
    assert all(each.grad is None for each in model.generator.parameters())


def test_translations_to_both_classes_count_by_their_share():
    model, batch = _model(penalty=0.0), _batch("critic")
    healthy, diseased = (torch.full((4,), each) for each in (0, 1))
    fake = 0.75 * model.critic.score(model.translate(batch.x, healthy), healthy).mean()
    fake = fake + 0.25 * model.critic.score(model.translate(batch.x, diseased), diseased).mean()
    real = model.critic.score(batch.x, OWN).mean()
    torch.testing.assert_close(model.loss(batch)["distance"], real - fake)


def test_the_penalty_of_a_linear_critic_has_a_closed_form():
    model, batch = _model(), _batch("critic")
    weights = torch.randn(2, 32 * 32, generator=torch.Generator().manual_seed(2))

    class Linear(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1) @ weights.T, torch.zeros(len(x), 2)

        def score(self, x, classes):
            return (x.flatten(1) * weights[classes]).sum(dim=1)

    model.critic = Linear()
    slopes = (torch.linalg.vector_norm(weights, dim=1) - 1) ** 2
    torch.testing.assert_close(model.loss(batch)["penalty"], slopes.mean())


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_batch_norm_in_use(norm):
    model, x = _model(eval_norm=norm), _batch().x
    together, alone = model.reconstruct(x), model.reconstruct(x[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
    brighter = model.reconstruct(3 * x[:1])  # the last layer's norm gives each image the same mean
    last = model.generator.branches[0][-1]
    mean = float(last.bias.detach().mean())
    same = (
        abs(float(alone.detach().mean()) - mean) < 1e-4 and abs(float(brighter.detach().mean()) - mean) < 1e-4
    )
    assert same == (norm == "batch")
    model.train()
    in_training = model.reconstruct(x[:1])
    assert torch.allclose(in_training, alone, atol=1e-4) == (norm == "batch")


def test_tanh_ends_in_zero_to_one():
    model = _model(output="tanh")
    made = model.reconstruct(100 * torch.randn(2, 1, 32, 32))
    assert made.min() >= 0
    assert made.max() <= 1


def test_turns_and_classes():
    model = _model(critic_steps=3)
    assert list(model.turns(0.5)) == ["critic"] * 3 + ["generator"]
    assert model.label(_batch().lesion).tolist() == OWN.tolist()
    total = sum(each.numel() for each in model.parameters())
    assert total == sum(each.numel() for player in model.players().values() for each in player)
    torch.testing.assert_close(model.classify(_batch().x).exp().sum(dim=1), torch.ones(4))


def test_slices_alone():
    for kind in (DeScarGAN, DCls):
        with pytest.raises(ConfigError, match=r"prepare\.dims=2"):
            kind(channels=1, size=(32, 32, 32))


def test_its_class_head_alone_is_the_same_network():
    whole = _model()
    alone = DCls(channels=1, size=(32, 32), critic_width=2).eval()
    weights = {
        name: each for name, each in whole.critic.state_dict().items() if not name.startswith("judges")
    }
    alone.critic.load_state_dict(weights)
    x = _batch().x
    torch.testing.assert_close(alone.classify(x), whole.classify(x))
    torch.testing.assert_close(alone.class_logits(alone.class_maps(x)).log_softmax(dim=1), alone.classify(x))
    expected = F.cross_entropy(whole.critic.logits(x), OWN)
    torch.testing.assert_close(alone.loss(_batch())["loss"], expected)
