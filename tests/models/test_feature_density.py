from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import Encodes, FitsDensity, HasCritic, HasDensity, Trains
from aberra.errors import ConfigError, NotFittedError
from aberra.models.cevae import CeVAE
from aberra.models.feature_density import FeatureDensity
from aberra.registry import build, named
from aberra.scores.gradient import Gradient

SHAPE = {"channels": 1, "dims": 2, "size": (32, 32)}
NARROW = {"network": {"width": 4}, "latent": 6}
ENCODERS = {
    "simclr": NARROW,
    "vae": NARROW,
    "cevae": NARROW | {"fill": "random"},
    "ae": {"network": {"name": "unified-spatial", "width": 4}},
    "gmvae": NARROW,
}
DENSITIES = {
    "gmm": {"components": [1, 2]},
    "realnvp": {"blocks": 2, "width": 16, "epochs": 3},
}


def _x(count, seed=0):
    return torch.rand(count, 1, 32, 32, generator=torch.Generator().manual_seed(seed))


def _model(encoder="vae", density="gmm", **options):
    torch.manual_seed(0)
    tables = {
        "encoder": {"name": encoder} | ENCODERS[encoder],
        "density": {"name": density} | DENSITIES[density] | options,
    }
    return FeatureDensity(**SHAPE, **tables).eval()


@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_any_model_with_codes_can_have_any_density(encoder, density):
    model = _model(encoder, density)
    assert isinstance(model, HasDensity)
    assert isinstance(model, FitsDensity)
    assert isinstance(model, Trains)
    assert not isinstance(model, HasCritic)
    with pytest.raises(NotFittedError, match=f"{density}: not fitted"):
        model.log_density(_x(2))
    found = model.fit_density(_x(20), _x(10, seed=1), seed=0)
    assert set(found) == {"validation", {"gmm": "components", "realnvp": "epoch"}[density]}
    new = _x(3, seed=2).requires_grad_()
    logs = model.log_density(new)
    assert logs.shape == (3,)
    (gradient,) = torch.autograd.grad(logs.sum(), new)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_the_density_is_that_of_the_posterior_means_up_to_a_constant():
    model = _model("vae")
    learnt = _x(20)
    model.fit_density(learnt, _x(10, seed=1), seed=0)
    with torch.no_grad():
        mean, _ = model.encoder.encode(learnt)
        expected = model.density.log_density(mean)
        found = model.log_density(learnt)
    torch.testing.assert_close(found, expected - expected.max(), rtol=1e-4, atol=1e-3)
    assert float(found.max()) == pytest.approx(0, abs=1e-3)


def test_the_gradient_of_one_gaussian_on_a_linear_encoder_is_mahalanobis():
    """−log p = ½(z − μ)ᵀΣ⁻¹(z − μ) + const, z = Wx + b: its gradient is WᵀΣ⁻¹(z − μ)."""
    model = _model("vae", components=[1])
    linear = torch.nn.Linear(32 * 32, 6)
    model.encoder.code = lambda x: linear(x.flatten(1))
    model.fit_density(_x(300), _x(50, seed=1), seed=0)
    x = _x(4, seed=2)
    with torch.no_grad():
        codes, z = linear(_x(300).flatten(1)).double(), linear(x.flatten(1)).double()
        unit = model.density.std.double()
        # the ridge is one of standardised codes
        covariance = torch.cov(codes.T, correction=0) + model.density.ridge * torch.diag(unit**2)
        expected = torch.linalg.solve(covariance, (z - codes.mean(dim=0)).T).T @ linear.weight.double()
    found = Gradient(of="nll").gradient(model, x)
    torch.testing.assert_close(found.flatten(1), expected.float(), rtol=1e-3, atol=1e-3)


def test_the_loss_is_the_encoders_and_the_density_has_no_part_in_it():
    model = _model("cevae", "realnvp").train()
    torch.manual_seed(0)
    alone = CeVAE(**SHAPE, **ENCODERS["cevae"]).train()
    alone.load_state_dict(model.encoder.state_dict())

    def losses(each):
        torch.manual_seed(1)
        return each.loss(Batch(_x(4), torch.ones(4, 1, 32, 32), torch.Generator().manual_seed(0)))

    found, expected = losses(model), losses(alone)
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found["loss"], expected["loss"])
    found["loss"].backward()
    assert all(weight.grad is None for weight in model.density.parameters())
    assert any(weight.grad is not None for weight in model.encoder.parameters())


def test_a_learnt_density_is_in_the_state():
    model, other = _model(), _model()
    model.fit_density(_x(20), _x(10, seed=1), seed=0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.log_density(_x(2)), other.log_density(_x(2)))


def test_learning_a_density_does_not_touch_the_encoder():
    model = _model("simclr")
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    model.fit_density(_x(20), _x(10, seed=1), seed=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.encoder.state_dict().items())


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"encoder": "fanogan"}, "model.encoder=fanogan: expected a model with codes: .*simclr"),
        ({"encoder": "dae"}, "model.encoder=dae"),
        ({"encoder": "pca"}, "model.encoder=pca"),
        ({"encoder": "feature-density"}, "model.encoder=feature-density"),
        ({"encoder": "simclrr"}, "unknown model.encoder 'simclrr'. Did you mean 'simclr'"),
        ({"encoder": {"latnt": 3}}, "unknown option of encoder simclr: 'latnt'. Did you mean 'latent'"),
        ({"density": "gmmm"}, "unknown model.density 'gmmm'. Did you mean 'gmm'"),
        ({"density": {"components": [0]}}, "model.density.components"),
        (
            {"density": {"name": "realnvp", "components": [1]}},
            "unknown option of density realnvp: 'components'",
        ),
        ({"density": {"features": 3}}, "unknown option of density gmm: 'features'"),
    ],
)
def test_tables_that_cannot_be_are_refused(tables, message):
    with pytest.raises(ConfigError, match=message):
        build("models", {"name": "feature-density"} | tables, **SHAPE)


def test_tables_are_checked_before_anything_is_built():
    with pytest.raises(ConfigError, match="unknown option of encoder vae: 'latnt'"):
        named("models", {"name": "feature-density", "encoder": {"name": "vae", "latnt": 3}})
    with pytest.raises(ConfigError, match="unknown option of network unified: 'widht'"):
        named("models", {"name": "feature-density", "encoder": {"name": "vae", "network": {"widht": 3}}})


def test_encoders_have_the_capability_that_is_asked_of_them():
    for encoder in ENCODERS:
        assert isinstance(_model(encoder).encoder, Encodes)
