from __future__ import annotations

import torch

from aberra.batch import Batch
from aberra.models.vagan import VAGAN


def _model(**options):
    torch.manual_seed(0)
    small = {"channels": 1, "size": (16, 16), "network": {"width": 4, "depth": 2}, "critic_width": 4}
    return VAGAN(**(small | options)).eval()


def _batch(turn="", ill=(0, 2)):
    x = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    lesion = torch.zeros_like(x)
    lesion[list(ill), :, 4:8, 4:8] = 1
    return Batch(x, torch.ones_like(x), torch.Generator().manual_seed(0), lesion=lesion, turn=turn)


def test_losses_are_the_papers():
    model, batch = _model(penalty=0.0, sparsity=3.0), _batch("map")
    sick, healthy = batch.x[[0, 2]], batch.x[[1, 3]]
    added = model.map(sick)
    fake = model.critic(sick + added).mean()
    torch.testing.assert_close(model.loss(batch)["loss"], 3 * added.abs().mean() - fake)
    torch.testing.assert_close(model.loss(_batch("critic"))["loss"], fake - model.critic(healthy).mean())


def test_the_map_is_added():
    model, x = _model(), _batch().x
    torch.testing.assert_close(model.reconstruct(x) - x, model.map(x))


def test_batches_of_one_class_teach_nothing():
    for ill in ((), (0, 1, 2, 3)):
        model = _model()
        loss = model.loss(_batch("critic", ill))["loss"]
        loss.backward()
        assert loss.item() == 0
        assert all(float(each.grad.abs().max()) == 0 for each in model.critic.parameters())
    model = _model()
    model.loss(_batch("map", ()))["loss"].backward()
    assert all(float(each.grad.abs().max()) == 0 for each in model.map.parameters())
    assert model.loss(_batch("", ()))["told"].item() == 0


def test_the_penalty_of_a_linear_critic_has_a_closed_form():
    model, batch = _model(), _batch("critic")
    weights = torch.randn(256, generator=torch.Generator().manual_seed(2))
    model.critic = type("Linear", (torch.nn.Module,), {"forward": lambda _, x: x.flatten(1) @ weights})()
    torch.testing.assert_close(model.loss(batch)["penalty"], (torch.linalg.vector_norm(weights) - 1) ** 2)
