from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.models.classifier import Classifier
from aberra.models.l2i import L2I
from aberra.training.adams import Adams
from aberra.training.config import TrainingConfig

SIZE = (16, 16)


def _batch(sites=(1.0, 1.0, 0.0, 0.0, 0.0, float("nan")), progress=0.5):
    x = torch.rand(6, 1, *SIZE, generator=torch.Generator().manual_seed(5))
    lesion = torch.zeros_like(x)
    lesion[1::2, :, 4:6, 4:6] = 1
    known = torch.tensor(sites)[:, None]
    return Batch(x, torch.ones_like(x), torch.Generator(), lesion=lesion, covariates=known, progress=progress)


def _model(cls=Classifier, **options):
    torch.manual_seed(0)
    return cls(**{"channels": 1, "size": SIZE, "width": 4, "latent": 6} | options)


def _gradients(model, loss):
    names = [name for name, _ in model.named_parameters()]
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, retain_graph=True)
    return {
        name for name, each in zip(names, found, strict=True) if each is not None and each.abs().max() > 0
    }


@pytest.mark.parametrize(("cls", "options"), [(Classifier, {}), (L2I, {"target": "a"})])
@pytest.mark.parametrize("dims", [2, 3])
def test_codes_lie_on_the_sphere_and_answers_are_log_probabilities(cls, options, dims):
    model = _model(cls, dims=dims, size=(16,) * dims, **options).eval()
    x = torch.rand(3, 1, *(16,) * dims)
    assert torch.allclose(model.code(x).norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(model.classify(x).exp().sum(dim=1), torch.ones(3), atol=1e-5)


def test_classification_moves_the_classifier_alone_in_learn_to_ignore():
    model = _model(L2I, target="a")
    assert _gradients(model, model.loss(_batch())["classification"]) == {
        "head.classifier.weight", "head.classifier.bias",
    }  # fmt: skip


def test_latent_moves_the_encoder_alone_and_centring_moves_encoder_and_centres():
    model = _model(L2I, target="a")
    losses = model.loss(_batch())
    assert all(name.startswith("encoder.") for name in _gradients(model, losses["latent"]))
    moved = _gradients(model, losses["centring"])
    assert "head.centres.raw" in moved
    assert any(name.startswith("encoder.") for name in moved)
    assert not any(name.startswith("head.classifier") for name in moved)


def test_fixed_centres_stay():
    model = _model(L2I, target="a", fixed=True)
    assert not [name for name, _ in model.named_parameters() if "centres" in name]


def test_centring_is_of_one_image_of_each_class_of_the_target():
    model, batch = _model(L2I, target="a"), _batch()
    found = model.loss(batch)["centring"]
    code, classes = model.code(batch.x), model.label(batch.truth)
    assert torch.allclose(found, model.head.centres.centring(code[:2], classes[:2]))
    elsewhere = batch._replace(covariates=torch.zeros(6, 1))
    assert "centring" not in model.loss(elsewhere)


def test_validation_watches_the_target():
    model, batch = _model(L2I, target="a").eval(), _batch()
    told = model.classify(batch.x)
    each = F.nll_loss(told, model.label(batch.truth), reduction="none")
    assert model.loss(batch)["error"].item() == pytest.approx(each[:2].sum().item() / 6, rel=1e-4)


def test_centres_move_twice_as_fast():
    model = _model(L2I, target="a")
    adams = Adams(model, TrainingConfig(learning_rate=1e-3, weight_decay=0.1))
    adams.set_rate(5e-5)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {
        names[parameter]: group["lr"]
        for group in adams.each[""].param_groups
        for parameter in group["params"]
    }
    assert rates.keys() == set(names.values())
    assert rates["head.centres.raw"] == pytest.approx(1e-4)
    assert {rate for name, rate in rates.items() if name != "head.centres.raw"} == {5e-5}


def test_the_gradient_of_the_domain_is_turned_before_the_encoder_only():
    model, batch = _model(adapt="dann", target="a"), _batch()
    turned = model.loss(batch)["domain"]
    known = batch.covariates[:, 0].isfinite()
    plain = F.cross_entropy(
        model.domain(model.code(batch.x)[known]), (batch.covariates[known, 0] == 1).long()
    )
    assert turned.item() == pytest.approx(plain.item(), rel=1e-5)
    encoder = next(iter(model.encoder.parameters()))
    one, other = (torch.autograd.grad(loss, encoder, retain_graph=True)[0] for loss in (turned, plain))
    share = 2 / (1 + torch.tensor(-5.0).exp()) - 1
    assert torch.allclose(one, -share * other, atol=1e-6, rtol=1e-3)
    head = model.domain[0].weight
    one, other = (torch.autograd.grad(loss, head, retain_graph=True)[0] for loss in (turned, plain))
    assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)


def test_unlearning_moves_the_head_by_the_domain_and_the_encoder_by_confusion():
    model = _model(adapt="unlearning", target="a")
    losses = model.loss(_batch())
    assert all(name.startswith("domain.") for name in _gradients(model, losses["domain"]))
    assert all(name.startswith("encoder.") for name in _gradients(model, losses["confusion"]))


def test_contrast_moves_the_encoder_and_cross_entropy_the_classifier():
    model = _model(adapt="supcon")
    losses = model.loss(_batch())
    assert all(name.startswith("classifier.") for name in _gradients(model, losses["classification"]))
    assert all(name.startswith("encoder.") for name in _gradients(model, losses["contrast"]))


def test_weights_are_those_of_the_classes_drawn_so_far():
    model, batch = _model(weighted=True), _batch()
    lesion = batch.truth.clone()
    lesion[3:] = 0  # one of six is diseased
    batch = batch._replace(lesion=lesion)
    found = model.loss(batch)["classification"]
    expected = F.cross_entropy(
        model.logits(model.code(batch.x)), model.label(lesion), torch.tensor([6 / 10, 6 / 2])
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert model.drawn.tolist() == [5, 1]
    model.eval().loss(batch)
    assert model.drawn.tolist() == [5, 1]


@pytest.mark.parametrize("adapt", ["dann", "unlearning", "can"])
def test_an_adaptation_without_a_target_is_refused(adapt):
    with pytest.raises(ConfigError, match="for which site"):
        _model(adapt=adapt)


def test_learn_to_ignore_without_a_target_is_refused():
    with pytest.raises(ConfigError, match=r"model\.target=NAME"):
        _model(L2I)


@pytest.mark.parametrize("adapt", ["dann", "unlearning", "can"])
def test_images_of_unknown_site_have_no_domain(adapt):
    model = _model(adapt=adapt, target="a")
    unknown = model.loss(_batch(sites=(float("nan"),) * 6))
    assert torch.isfinite(unknown["loss"])
    assert unknown["loss"].item() == pytest.approx(unknown["classification"].item())
