from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import HasGuides, JudgesHealth, TakesConditions
from aberra.errors import ConfigError, PairingError
from aberra.method import Method
from aberra.models.ddpm import DDPM
from aberra.models.guided_ddpm import GuidedDDPM, area
from aberra.nets.diffusion_unet import Attention
from aberra.registry import build
from aberra.scores import check_pairing


class MapsHealth:
    """As a score of guided diffusion."""

    needs = (JudgesHealth,)


TINY = {"channels": 1, "size": (16, 16), "network": {"width": 8, "multipliers": (1, 2), "attention": ()}}


def _generator():
    return torch.Generator().manual_seed(0)


def _batch():
    x = torch.rand(4, 1, 16, 16, generator=_generator())
    lesion = torch.zeros(4, 1, 16, 16)
    lesion[2:, :, 4:8, 4:8] = 1
    return x, torch.ones(4, 1, 16, 16), lesion


@pytest.mark.parametrize("predicts", ["noise", "image", "velocity"])
@pytest.mark.parametrize("learned", [False, True])
def test_a_loss_for_every_prediction(predicts, learned):
    model = DDPM(predicts=predicts, learned_variance=learned, **TINY)
    x, mask, _ = _batch()
    losses = model.loss(Batch(x, mask, _generator()))
    assert torch.isfinite(losses["loss"])
    assert ("bound" in losses) == learned
    found = model.eval().denoise(x, 500)
    assert found.image.shape == found.noise.shape == x.shape
    assert (found.spread is not None) == learned
    level = model.process().at(500, x)
    torch.testing.assert_close(level.sqrt() * found.image + (1 - level).sqrt() * found.noise, x)


def test_the_bound_does_not_move_the_mean():
    model = DDPM(learned_variance=True, **TINY)
    x, mask, _ = _batch()
    model.loss(Batch(x, mask, _generator()))["bound"].backward()
    mean, spread = model.net.last.bias.grad.chunk(2)
    assert float(mean.abs().sum()) == 0
    assert float(spread.abs().sum()) > 0


def test_learning_lowers_the_loss():
    torch.manual_seed(0)
    model = DDPM(**TINY)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    x, mask, _ = _batch()
    first = float(model.loss(Batch(x, mask, _generator()))["loss"].detach())
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(Batch(x, mask, generator))["loss"].backward()
        optimizer.step()
    assert float(model.loss(Batch(x, mask, _generator()))["loss"].detach()) < 0.7 * first


def test_each_turn_moves_its_own_network_only_and_together_they_are_all():
    model = GuidedDDPM(guides=("class", "area", "mask"), guide_width=8, conditional=True, **TINY)
    x, mask, lesion = _batch()
    assert isinstance(model, HasGuides)
    assert model.guide_names() == ("class", "area", "mask")
    players = {name: list(weights) for name, weights in model.players().items()}
    assert set(players) == set(model.turns(0.0))
    everyone = [id(weight) for weights in players.values() for weight in weights]
    assert sorted(everyone) == sorted(id(weight) for weight in model.parameters())
    for turn, weights in players.items():
        model.zero_grad()
        model.loss(Batch(x, mask, _generator(), turn=turn, lesion=lesion))["loss"].backward()
        own = {id(weight) for weight in weights}
        assert all(weight.grad is None for weight in model.parameters() if id(weight) not in own)
        assert any(weight.grad is not None for weight in weights)
    total = model.loss(Batch(x, mask, _generator(), lesion=lesion))["loss"]
    assert torch.isfinite(total)


def test_truth_becomes_class_and_area():
    model = GuidedDDPM(guide_width=8, **TINY)
    _, mask, lesion = _batch()
    assert model.label(lesion).tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(area(lesion, mask), torch.tensor([0, 0, 16 / 256, 16 / 256]))


def test_a_guide_learns_what_is_in_an_image_and_quality_says_how_well():
    torch.manual_seed(0)
    model = GuidedDDPM(guides=("class", "mask"), guide_width=8, **TINY)
    x, mask, lesion = _batch()
    x = 0.1 * x + 2 * lesion
    before = model.quality(x, mask, lesion, 1)
    for turn in ("class", "mask"):
        optimizer = torch.optim.Adam(model.players()[turn], 3e-3)
        generator = torch.Generator().manual_seed(1)
        for _ in range(60):
            optimizer.zero_grad()
            model.loss(Batch(x, mask, generator, turn=turn, lesion=lesion))["loss"].backward()
            optimizer.step()
    after = model.quality(x, mask, lesion, 1)
    assert after["accuracy"] == 1
    assert after["dice"] > max(0.8, before["dice"])


def test_a_guide_for_a_site_learns_to_ignore_others_and_guides_as_any():
    torch.manual_seed(0)
    model = GuidedDDPM(guides=("class", "age"), guide_width=8, target="a", **TINY)
    x, mask, lesion = _batch()
    known = torch.tensor([[0.1, 1.0], [0.2, 0.0], [0.3, 1.0], [0.4, 0.0]])
    batch = Batch(x, mask, _generator(), turn="class", lesion=lesion, covariates=known)
    assert model.covariates == ("age", "site=a")
    assert model.anchor == "site=a"
    losses = model.loss(batch)
    guide = model.guides["class"]
    grads = torch.autograd.grad(
        losses["classification"], list(guide.parameters()), allow_unused=True, retain_graph=True
    )
    moved = {
        name for (name, _), each in zip(guide.named_parameters(), grads, strict=True) if each is not None
    }
    assert moved == {"head.classifier.weight", "head.classifier.bias"}
    assert {"centring", "latent"} <= set(losses)
    nobody = batch._replace(covariates=torch.zeros(4, 2), generator=_generator())
    assert "centring" not in model.loss(nobody)
    steps = torch.full((4,), 5)
    assert torch.allclose(guide.code(x, steps).norm(dim=1), torch.ones(4), atol=1e-5)
    told = model.log_healthy(x.requires_grad_(), 5)
    (slope,) = torch.autograd.grad(told.sum(), x)
    assert slope.any()
    names = [name for name, _ in model.named_parameters() if model.rate_of(name) != 1]
    assert names == ["guides.class.head.centres.raw", "checkers.class.head.centres.raw"]


def test_a_target_without_a_guide_of_the_class_is_refused():
    with pytest.raises(ConfigError, match=r"model.target=a: it is the guide of the class"):
        GuidedDDPM(guides=("age",), guide_width=8, target="a", **TINY)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ConfigError, match="velocity"):
        DDPM(predicts="velocty", **TINY)
    with pytest.raises(ConfigError, match="Gaussian"):
        DDPM(noise="pyramid", learned_variance=True, **TINY)
    with pytest.raises(ConfigError, match="class"):
        GuidedDDPM(guides=(), **TINY)
    with pytest.raises(ConfigError, match="no guide 'mask'"):
        GuidedDDPM(guides=("area",), guide_width=8, **TINY).told("mask", torch.zeros(1, 1, 16, 16), 1)


def _recipe(method, overrides=None):
    config = Method.load(method, overrides)
    with torch.device("meta"):
        return build("models", config.model, channels=4, size=(config.prepare["size"],) * 2)


def _parameters(model):
    return sum(each.numel() for each in model.parameters())


def test_the_catalogues_full_size_recipe_has_the_thesis_networks():
    model = _recipe("wolleb2022-ddim", {"model.guides": ["class", "area"]})
    assert _parameters(model.net) == 113_681_160
    assert _parameters(model.guides["class"]) == _parameters(model.checkers["class"]) == 5_452_962
    assert _parameters(model.guides["area"]) == 5_452_833
    assert model.learned_variance


def test_the_catalogues_full_size_recipe_of_the_ensemble_has_its_network():
    model = _recipe("wolleb2022-segmentation")
    assert _parameters(model) == 113_674_370
    attends = [each for each in model.masks.net.modules() if isinstance(each, Attention)]
    assert len(attends) == 2 + 1 + 3, "one level of 14², and the middle"


def test_guides_attend_where_the_diffusion_model_does_unless_told():
    def levels(**options):
        model = GuidedDDPM(
            channels=1,
            size=(32, 32),
            network={"width": 8, "multipliers": [1, 2], "attention": [16]},
            **options,
        )
        return sum(isinstance(each, Attention) for each in model.guides["class"].modules())

    assert (levels(), levels(guide_attention=[32, 16])) == (2, 3)


def _told_by_age():
    """A model of images that are as bright as their age, and a batch of them."""
    torch.manual_seed(0)
    model = DDPM(conditions=("age", "sex"), **TINY)
    age = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    covariates = torch.stack([age, torch.full_like(age, torch.nan)], dim=1)
    return model, age[:, None, None, None].expand(4, 1, 16, 16).contiguous(), covariates


def test_a_model_learns_what_its_conditions_say():
    model, x, covariates = _told_by_age()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = _generator()
    for _ in range(80):
        optimizer.zero_grad()
        model.loss(Batch(x, torch.ones_like(x), generator, covariates=covariates))["loss"].backward()
        optimizer.step()
    noise = torch.randn(1, 1, 16, 16, generator=_generator())
    with torch.no_grad():  # nearly all of it is noise, so only the condition says how bright it was
        young, old = (model.given((age, torch.nan)).denoise(noise, 900).image.mean() for age in (-1.0, 1.0))
        nobody = model.denoise(noise, 900).image.mean()
    assert young < nobody < old
    assert model.person is None


def test_a_model_of_one_person_shares_the_weights_and_unknown_is_as_if_nobody_was_named():
    model, x, _ = _told_by_age()
    for weight in model.parameters():  # much is zero at first
        torch.nn.init.normal_(weight, std=0.1)
    told = model.given((0.5, 1.0))
    assert isinstance(model, TakesConditions)
    assert list(map(id, told.parameters())) == list(map(id, model.parameters()))
    assert not torch.equal(told.denoise(x, 300).image, model.denoise(x, 300).image)
    unknown = model.given((torch.nan, torch.nan))
    torch.testing.assert_close(unknown.denoise(x, 300).image, model.denoise(x, 300).image)


def test_the_ages_guide_learns_from_those_whose_age_is_known():
    torch.manual_seed(0)
    model = GuidedDDPM(guides=("age",), guide_width=8, conditions=("sex",), **TINY)
    assert model.covariates == ("sex", "age")
    check_pairing(GuidedDDPM(guide_width=8, **TINY), MapsHealth())
    with pytest.raises(PairingError, match="JudgesHealth"):  # who is healthy nothing says
        check_pairing(model, MapsHealth())
    _, x, covariates = _told_by_age()
    batch = Batch(
        x, torch.ones_like(x), _generator(), lesion=0 * x, turn="age-checker", covariates=covariates.flip(1)
    )
    unknown = batch._replace(covariates=torch.full_like(covariates, torch.nan))
    assert float(model.loss(unknown)["loss"].detach()) == 0
    optimizer = torch.optim.Adam(model.players()["age-checker"], 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(batch)["loss"].backward()
        optimizer.step()
    told = model.told("age", x, 1, checker=True)[:, 0]
    torch.testing.assert_close(told, torch.tensor([-1.0, 1.0, -1.0, 1.0]), atol=0.4, rtol=0)


def test_features_are_of_the_person_too():
    model, x, _ = _told_by_age()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    young, old = (model.given((age, torch.nan)).feature_maps(x)[-1] for age in (-1.0, 1.0))
    assert not torch.equal(young, old)
