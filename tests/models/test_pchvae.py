from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.method import Method
from aberra.models.pchvae import PchVAE, _sample
from aberra.models.vae import kl_to_standard_normal
from aberra.registry import build

PATHS = {
    "pchvae": {},
    "chvae": {"separate": False},
    "high-vae": {"low": 0},
    "low-vae": {"high": 0},
}


def _model(seed=0, **options):
    torch.manual_seed(seed)
    return PchVAE(**({"channels": 1, "size": (32, 32), "width": 2, "high": 3, "low": 2} | options)).eval()


def _losses(model, x, seed=0):
    return model.loss(Batch(x, torch.ones_like(x), torch.Generator().manual_seed(seed)))


def _count(model):
    return sum(weight.numel() for weight in model.parameters())


def _conv(before, after, kernel):
    return before * after * kernel**2 + after


def _painter(before):
    return _conv(before, 32, 3) + _conv(32, 16, 4) + _conv(16, 1, 4)


def test_the_default_network_counted_by_hand():
    down = _conv(1, 16, 4) + _conv(16, 32, 4) + _conv(32, 64, 4) + _conv(64, 256, 4) + _conv(256, 2 * 16, 1)
    rise = _conv(16, 256, 1) + _conv(256, 64, 4) + _conv(64, 32, 4)
    near = _conv(32 + 32, 32, 3) + _conv(32, 2, 1)
    expected = down + rise + near + _painter(32) + _painter(32 + 1)
    assert _count(PchVAE(channels=1, size=(64, 64))) == expected == 665_556
    assert _count(PchVAE(channels=1, size=(96, 80))) == expected


def test_ablations_have_as_many_numbers_in_the_code_and_slightly_more_weights():
    shape = {"channels": 1, "dims": 2, "size": (64, 64)}
    models = {name: build("models", Method.load(name).model, **shape).eval() for name in PATHS}
    codes = {name: model.code(torch.zeros(1, 1, 64, 64)).shape for name, model in models.items()}
    assert set(codes.values()) == {(1, 512)}
    whole = _count(models.pop("pchvae"))
    assert {name: _count(model) for name, model in models.items()} == {
        "chvae": 730_423,
        "high-vae": 722_293,
        "low-vae": 679_293,
    }
    assert all(1 < _count(model) / whole < 1.1 for model in models.values())


@pytest.mark.parametrize("options", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(("dims", "size"), [(2, (32, 48)), (3, (16, 32, 16))])
def test_shapes_and_answers_of_single_images(options, dims, size):
    model = _model(channels=2, dims=dims, size=size, **options)
    x = torch.rand(3, 2, *size)
    found = model.reconstruct(x)
    assert found.shape == x.shape
    torch.testing.assert_close(model.reconstruct(x[1:2]), found[1:2])
    assert all(part.shape == x.shape for part in model.parts(x))
    assert all(term.shape == (3,) and (term >= 0).all() for term in model.elbo_terms(x))


def test_without_the_low_image_and_the_third_term_it_is_the_high_path_up_to_weights():
    """g₂ = 0, λ₃ = 0 and q(z₂) = N(0, I): L = (1 + λ₁)·‖x − g₁(z₁)‖ / c + KL."""
    whole, high, x = _model(zero_weight=0.0, high_weight=0.5), _model(1, low=0), torch.rand(4, 1, 32, 32)
    for last in (whole.near[-1], whole.low_image[-1][-1]):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    kept = {key: value for key, value in whole.state_dict().items() if key in high.state_dict()}
    high.load_state_dict(kept)
    assert torch.equal(whole.reconstruct(x), high.reconstruct(x))
    for ours, theirs in zip(whole.elbo_terms(x), high.elbo_terms(x), strict=True):
        torch.testing.assert_close(ours, theirs)
    ours, theirs = _losses(whole, x), _losses(high, x)
    torch.testing.assert_close(ours["reconstruction"], theirs["reconstruction"])
    torch.testing.assert_close(ours["loss"], 1.5 * theirs["reconstruction"] + theirs["kl"])
    whole.high_weight = 0.0
    torch.testing.assert_close(_losses(whole, x)["loss"], theirs["loss"])


def test_the_loss_is_equation_3_24():
    model, x = _model(high_weight=0.3, zero_weight=0.7, scale=0.2), torch.rand(4, 1, 32, 32)
    losses, drawn = _losses(model, x), torch.Generator().manual_seed(0)
    near = model.shallow(x)
    mean, log_variance = model.deep(near).chunk(2, dim=1)
    z = mean + torch.randn(mean.shape, generator=drawn) * (log_variance / 2).exp()
    risen = model.rise(z)
    low_mean, low_log_variance = model.near(torch.cat([near, risen], dim=1)).chunk(2, dim=1)
    low_z = low_mean + torch.randn(low_mean.shape, generator=drawn) * (low_log_variance / 2).exp()
    high, low = model.high_image(risen), model.low_image(torch.cat([risen, low_z], dim=1))
    again = model.high_image(model.rise(model.deep(model.shallow(low)).chunk(2, dim=1)[0]))
    kl = kl_to_standard_normal(mean, log_variance) + kl_to_standard_normal(low_mean, low_log_variance)
    errors = {"high": x - high, "reconstruction": x - high - low, "zero": again}
    expected = {key: error.abs().sum() / 4 / 0.2 for key, error in errors.items()} | {"kl": kl.mean()}
    for key, value in expected.items():
        torch.testing.assert_close(losses[key], value)
    weights = {"high": 0.3, "reconstruction": 1.0, "zero": 0.7, "kl": 1.0}
    torch.testing.assert_close(losses["loss"], sum(weights[key] * expected[key] for key in weights))


def test_the_third_term_is_of_the_low_image_alone_and_teaches_both_paths():
    model, x = _model(), torch.rand(4, 1, 32, 32)
    _losses(model, x)["zero"].backward()
    for part in (model.low_image, model.high_image, model.deep, model.near):
        assert all(weight.grad is not None and weight.grad.any() for weight in part.parameters())


def test_parts_add_up_and_what_there_is_not_is_zero():
    x = torch.rand(2, 1, 32, 32)
    for name, options in PATHS.items():
        model = _model(**options)
        high, low = model.parts(x)
        assert torch.equal(high + low, model.reconstruct(x))
        assert high.any() == (name in ("pchvae", "high-vae"))
        assert low.any() == (name != "high-vae")


def test_the_low_path_is_told_of_the_high_code():
    """q(z₂|x, z₁) and g₂(z₁, z₂)."""
    model, x = _model(), torch.rand(2, 1, 32, 32)
    before, (_, low) = model.code(x), model.parts(x)
    with torch.no_grad():
        model.deep[-1].bias[:3] += 5.0  # moves the mean of z₁ only
    after, (_, moved) = model.code(x), model.parts(x)
    count = 3 * 2 * 2
    torch.testing.assert_close(after[:, :count], before[:, :count] + 5.0)
    assert not torch.allclose(after[:, count:], before[:, count:])
    assert not torch.allclose(moved, low)


def test_draws_are_shared_by_a_batch_and_differ_between_levels():
    model, x = _model(high=1, low=1, size=(64, 16)), torch.rand(1, 1, 64, 16).expand(2, 1, 64, 16)
    first, second = model.sample_reconstructions(x, 2)
    assert torch.equal(first[0], first[1])
    assert not torch.allclose(first, second)
    torch.testing.assert_close(next(model.sample_reconstructions(x[:1], 1))[0], first[0])
    one = torch.zeros(1, 1, 4, 1)
    noise = _sample(0, 0, one, one), _sample(0, 1, one, one), _sample(1, 0, one, one)
    assert len({tuple(each.flatten().tolist()) for each in noise}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high": 0, "low": 0}, "no code is left"),
        ({"separate": False, "high_weight": 1.0}, r"high_weight=1: does nothing"),
        ({"low": 0, "zero_weight": 0.5}, r"zero_weight=0\.5: does nothing"),
        ({"high": 0, "separate": False}, "separate=false"),
        ({"size": (24, 32)}, "divisible by 16"),
        ({"scale": 0.0}, "scale"),
    ],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        _model(**options)
