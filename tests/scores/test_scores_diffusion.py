from __future__ import annotations

import numpy as np
import pytest
import torch
from known_denoiser import KnownDenoiser

from aberra.detector.windows import Runner
from aberra.diffusion.noise import shared
from aberra.errors import ConfigError
from aberra.models.ddpm import DDPM
from aberra.scores.andi import ANDi
from aberra.scores.autoddpm import PUBLISHED, AutoDDPM
from aberra.scores.mahalanobis import Mahalanobis
from aberra.scores.monte_carlo import MonteCarlo
from aberra.scores.partial_diffusion import Chain, Draws, PartialDiffusion
from aberra.scores.perceptual import perceptual_distance
from aberra.scores.residual import Residual
from aberra.scores.thor import THOR, harmonic_mean
from aberra.volume import Volume

SIZE = 16
SCORES = {
    "partial": PartialDiffusion(steps=10),
    "partial-perceptual": PartialDiffusion(steps=10, mode="perceptual", draws=2),
    "partial-std": PartialDiffusion(steps=5, of="std", draws=3),
    "andi": ANDi(calls=7),
    "autoddpm": AutoDDPM(steps=10, inpaint_steps=3, resamples=2, threshold=1e-3, scale=0.05),
    "thor": THOR(steps=14, scale=1e-3),
    "mahalanobis": Mahalanobis(start=250, steps=4, draws=4, epsilon=0.05),
    "mahalanobis-diagonal": Mahalanobis(start=250, steps=4, draws=4, epsilon=0.05, covariance="diagonal"),
}
CALLS = {
    "partial": 10,
    "partial-perceptual": 20,
    "partial-std": 15,
    "andi": 7,
    "autoddpm": 10 + 3 * 2,
    "thor": 14,
    "mahalanobis": 16,
    "mahalanobis-diagonal": 16,
}


@pytest.fixture
def healthy():
    """A smooth mean image, five slices of it, a mask that leaves out a rim, and what runs it."""
    coarse = torch.rand((1, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    mean = 0.3 + 0.4 * torch.nn.functional.interpolate(
        coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False
    )
    x = mean[0].unsqueeze(1).expand(1, 5, SIZE, SIZE).clone()
    mask = torch.ones(5, SIZE, SIZE, dtype=torch.bool)
    mask[:, 0] = False
    return KnownDenoiser(mean), x, mask, Runner(dims=2, size=(SIZE, SIZE))


def _with_lesion(x):
    sick, lesion = x.clone(), torch.zeros(x.shape[1:], dtype=torch.bool)
    lesion[:, 5:10, 6:11] = True
    sick[:, lesion] += 0.4
    return sick, lesion


@pytest.mark.parametrize("name", [name for name in SCORES if name != "partial-std"])
def test_a_lesion_stands_out_from_a_scan_that_is_the_mean(name, healthy):
    model, x, mask, run = healthy
    sick, lesion = _with_lesion(x)
    before = SCORES[name](model, x, mask, run).map
    after = SCORES[name](model, sick, mask, run).map
    assert after.shape == mask.shape
    assert (after >= 0).all()
    assert not after[~mask].any()
    assert after[lesion].mean() > 5 * before[mask].mean()
    assert after[lesion].mean() > 5 * after[mask & ~lesion].mean()


@pytest.mark.parametrize("name", SCORES)
def test_the_network_is_called_as_often_as_the_settings_say(name, healthy):
    model, x, mask, run = healthy
    SCORES[name](model, x, mask, run)
    assert len(model.asked) == CALLS[name]


@pytest.mark.parametrize("name", SCORES)
def test_batch_size_does_not_matter(name, healthy):
    model, x, mask, _ = healthy
    sick, _ = _with_lesion(x)
    one, four = (
        SCORES[name](model, sick, mask, Runner(dims=2, size=(SIZE, SIZE), batch_size=n)).map for n in (1, 4)
    )
    torch.testing.assert_close(one, four, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_runs_on_a_ddpm_in_three_dimensions(name):
    torch.manual_seed(0)
    model = DDPM(channels=2, dims=3, size=(8, 8, 8), width=4, multipliers=(1, 2), attention=()).eval()
    x, mask = torch.rand(2, 8, 8, 8), torch.ones(8, 8, 8, dtype=torch.bool)
    found = SCORES[name](model, x, mask, Runner(dims=3, size=(8, 8, 8)))
    assert found.map.shape == mask.shape
    assert torch.isfinite(found.map).all()


@pytest.mark.parametrize(
    "score",
    [
        PartialDiffusion(start=1001),
        ANDi(high=1001),
        AutoDDPM(start=1001),
        THOR(start=1001),
        Mahalanobis(start=1001),
    ],
)
def test_a_start_beyond_the_last_step_is_refused(score, healthy):
    with pytest.raises(ConfigError, match="1000"):
        score(*healthy)


@pytest.mark.parametrize(
    ("score", "options"),
    [
        (PartialDiffusion, {"sampler": "euler"}),
        (PartialDiffusion, {"mode": "squared"}),
        (PartialDiffusion, {"of": "std"}),
        (PartialDiffusion, {"start": 0}),
        (PartialDiffusion, {"smooth": -1.0}),
        (ANDi, {"noise": "simplex"}),
        (ANDi, {"low": 200}),
        (ANDi, {"calls": 0}),
        (AutoDDPM, {"threshold": "best"}),
        (AutoDDPM, {"scale": 0.0}),
        (AutoDDPM, {"dilate": 2}),
        (AutoDDPM, {"inpaint_steps": 0}),
        (THOR, {"harmonise": []}),
        (THOR, {"harmonise": [400]}),
        (THOR, {"reach": 12}),
        (Mahalanobis, {"draws": 1}),
        (Mahalanobis, {"covariance": "spatial"}),
    ],
)
def test_options_that_cannot_work_are_refused(score, options):
    with pytest.raises(ConfigError):
        score(**options)


# -- partial diffusion -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", Residual.MODES)
def test_partial_diffusion_is_the_residual_of_the_mean_of_its_draws(mode, healthy):
    model, x, mask, run = healthy
    sick, _ = _with_lesion(x)
    found = PartialDiffusion(steps=5, draws=3, mode=mode)(model, sick, mask, run)
    chain = Chain(250, 5, "ddpm")
    mean = sum(chain(model, sick.transpose(0, 1), draw) for draw in range(3)) / 3
    torch.testing.assert_close(found.reconstruction, mean.transpose(0, 1) * mask)
    expected = Residual(mode=mode).compare(sick, mean.transpose(0, 1), mask, 2)
    torch.testing.assert_close(found.map, expected, atol=1e-6, rtol=1e-4)


def test_spread_over_draws_is_monte_carlo_of_the_chain(healthy):
    model, x, mask, run = healthy
    found = PartialDiffusion(steps=5, draws=4, of="variance")(model, x, mask, run).map
    draws = torch.stack(
        list(Draws(model, Chain(250, 5, "ddpm"), 4).sample_reconstructions(x.transpose(0, 1), 4))
    )
    torch.testing.assert_close(found, draws.var(dim=0, correction=0)[:, 0] * mask)
    assert found[mask].min() > 0
    with pytest.raises(ConfigError):
        MonteCarlo(of="std", draws=1)


def test_one_ddim_step_has_a_closed_form(healthy):
    """x̂ = m + g·√ᾱ·(x − m) + g·√(1 − ᾱ)·ε."""
    model, x, mask, run = healthy
    sick, _ = _with_lesion(x)
    found = PartialDiffusion(steps=1, sampler="ddim")(model, sick, mask, run).reconstruction
    level, gain = float(model.schedule.alpha_bar[250]), model.gain(250)
    noise = shared("gaussian", 0, sick.transpose(0, 1))[0]
    expected = model.mean[0] + gain * (level**0.5 * (sick - model.mean[0]) + (1 - level) ** 0.5 * noise)
    torch.testing.assert_close(found, expected * mask, atol=1e-5, rtol=1e-5)


# -- ANDi --------------------------------------------------------------------------------------------------------------


def test_andi_has_its_closed_form(healthy):
    """x̂₀ − x = (1 − g√ᾱ)(m − x) + g√(1 − ᾱ)·ε, times √ᾱ_{t−1}·β_t / (1 − ᾱ_t)."""
    model, x, mask, run = healthy
    sick, _ = _with_lesion(x)
    found = ANDi(calls=5)(model, sick, mask, run).map
    logs = []
    for t in (125, 100, 75, 50, 25):
        level, before = (float(model.schedule.alpha_bar[each]) for each in (t, t - 1))
        noise = shared("gaussian", t, sick.transpose(0, 1))[0]
        gain = model.gain(t)
        apart = (1 - gain * level**0.5) * (model.mean[0] - sick) + gain * (1 - level) ** 0.5 * noise
        logs.append(2 * (before**0.5 * (1 - level / before) / (1 - level) * apart).abs().log())
    torch.testing.assert_close(found, (sum(logs) / 5).exp()[0] * mask, rtol=1e-3, atol=1e-12)


def test_the_geometric_mean_of_equal_maps_is_the_map(healthy):
    model, x, mask, run = healthy
    once = ANDi(high=80, low=80, calls=1)
    several = ANDi(high=80, low=80, calls=1)
    several.times = [80, 80, 80]
    torch.testing.assert_close(several(model, x, mask, run).map, once(model, x, mask, run).map)


def test_andi_can_take_every_step_and_the_models_noise(healthy):
    model, x, mask, run = healthy
    assert ANDi(calls=1000).times == list(range(125, 24, -1))
    model.noise = _silence
    assert ANDi(calls=3, noise="training")(model, x, mask, run).map.max() < 1e-15
    assert ANDi(calls=3)(model, x, mask, run).map[mask].max() > 1e-8


# -- AutoDDPM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm-solver"])
def test_what_is_painted_over_lies_inside_the_mask(sampler, healthy):
    model, x, _, _ = healthy
    sick = _with_lesion(x)[0].transpose(0, 1)
    hole = torch.zeros_like(sick, dtype=torch.bool)
    hole[:, :, 4:11, 5:12] = True
    score = AutoDDPM(inpaint_steps=4, resamples=3, sampler=sampler)
    restored = score.inpaint(model, sick, sick, hole)
    assert torch.equal(restored[~hole], sick[~hole])
    assert (restored - model.mean).abs()[hole].mean() < 0.7 * (sick - model.mean).abs()[hole].mean()


def test_resampling_carries_up_to_the_noise_that_the_step_has(healthy):
    """A variance of 1 − ᾱ_s of noise becomes one of 1 − ᾱ_t."""
    from aberra.scores.autoddpm import _raised

    process = healthy[0].process()
    image = torch.full((1, 1, 300, 300), 2.0)
    low = process.add_noise(image, shared("gaussian", 1, image), 20)
    high = _raised(process, low, 20, 50, shared("gaussian", 2, image))
    level = float(process.alpha_bar[50])
    assert float(high.mean()) == pytest.approx(2 * level**0.5, rel=0.01)
    assert float(high.var()) == pytest.approx(1 - level, rel=0.02)


def test_autoddpm_learns_that_5_per_cent_of_healthy_pixels_are_masked(healthy):
    model, x, _, run = healthy
    rng = np.random.default_rng(0)
    volumes = [
        Volume(data=(x.numpy() + 0.05 * rng.standard_normal(x.shape)).astype(np.float32), affine=np.eye(4))
        for _ in range(4)
    ]
    score = AutoDDPM(steps=5, dilate=1)
    found = score.tune(model, iter(volumes), run)
    assert found == {"scale": score.scale, "threshold": score.threshold}
    batch = torch.cat([torch.from_numpy(volume.data).transpose(0, 1)[:4] for volume in volumes])
    distance, residual = score._evidence(model, batch, score.chain(model, batch))
    assert float((residual > score.scale).float().mean()) == pytest.approx(0.05, abs=0.005)
    masked = score.masked(score.suspicion(distance, residual))
    assert float(masked.float().mean()) == pytest.approx(0.05, abs=0.005)
    assert AutoDDPM(threshold=0.1, scale=0.1).tune(model, iter(volumes), run) == {}
    assert AutoDDPM().tune(model, iter([]), run) == {}


def test_without_healthy_cases_the_published_rules_hold(healthy):
    residual = torch.arange(1.0, 101.0).reshape(2, 1, 5, 10)
    score = AutoDDPM(dilate=1)
    found = score.suspicion(torch.ones_like(residual), residual)
    assert found.flatten(1).eq(1).sum(dim=1).tolist() == [3, 3]  # the 48th of 50 and what is above
    torch.testing.assert_close(found[1, 0, 0, 0], torch.tensor(51 / 98))
    assert torch.equal(score.masked(residual / 500), residual / 500 > PUBLISHED)


def test_the_mask_is_dilated():
    suspect = torch.zeros(1, 1, 9, 9)
    suspect[0, 0, 4, 4] = 1
    assert int(AutoDDPM(dilate=3).masked(suspect).sum()) == 9
    assert int(AutoDDPM(dilate=1).masked(suspect).sum()) == 1


# -- THOR --------------------------------------------------------------------------------------------------------------


def test_the_harmonic_mean_lies_below_the_geometric_and_the_arithmetic():
    maps = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 1e-3
    found = harmonic_mean(maps)
    geometric = maps.log().mean(dim=1, keepdim=True).exp()
    assert (found <= geometric + 1e-6).all()
    assert (geometric <= maps.mean(dim=1, keepdim=True) + 1e-6).all()
    assert (found >= maps.amin(dim=1, keepdim=True) - 1e-6).all()
    torch.testing.assert_close(harmonic_mean(maps[:, :1].expand(-1, 3, -1, -1)), maps[:, :1])


def test_thor_asks_at_the_grid_steps_nearest_to_the_published_ones(healthy):
    model, x, _, _ = healthy
    _, maps = THOR(steps=50).go(model, x.transpose(0, 1))
    assert maps.shape == (5, 3, SIZE, SIZE)
    assert model.asked == model.schedule.times(50, 350)[:-1]
    assert {301, 147, 49} <= set(model.asked)


def test_thor_keeps_the_scan_where_nothing_is_anomalous(healthy):
    """With M = 0 everywhere x₀ stays x, with M = 1 it is x̂₀, and the last step says so."""
    model, x, _, _ = healthy
    sick = _with_lesion(x)[0].transpose(0, 1)
    options = {"steps": 5, "start": 50, "harmonise": [10], "sampler": "ddim"}
    kept, _ = THOR(**options, scale=1e6).go(model, sick)
    assert (kept - sick).abs().max() < 1e-6
    free, _ = THOR(**options, scale=1e-12).go(model, sick)
    plain = Chain(50, 5, "ddim")(model, sick)
    assert (free - plain).abs().max() < 1e-3
    assert (plain - sick).abs().max() > 0.05


def test_the_region_grows_with_the_size_of_the_image():
    for edge, reach in ((128, 13), (64, 7), (16, 3)):
        spot = torch.zeros(1, 1, edge, edge)
        spot[0, 0, edge // 2, edge // 2] = 1
        found = THOR(scale=1.0).region(spot)
        assert int((found > 0).sum()) == reach**2
        assert float(found.max()) == 1
        assert int((found == 1).sum()) == 1


def test_thor_learns_its_scale_from_healthy_cases(healthy):
    model, x, _, run = healthy
    rng = np.random.default_rng(0)
    data = (x.numpy() + 0.05 * rng.standard_normal(x.shape)).astype(np.float32)
    volumes = [Volume(data=data, affine=np.eye(4))]
    score = THOR(steps=7)
    found = score.tune(model, iter(volumes), run)
    assert found == {"scale": score.scale}
    assert found["scale"] > 0
    assert THOR(scale=0.1).tune(model, iter(volumes), run) == {}
    assert THOR().tune(model, iter([]), run) == {}


# -- Mahalanobis and the perceptual distance ---------------------------------------------------------------------------


def test_woodbury_agrees_with_the_covariance_matrix():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(2, 3, 6, 20, generator=generator, dtype=torch.float64)
    spread = draws - draws.mean(dim=2, keepdim=True)
    difference = torch.randn(2, 3, 20, generator=generator, dtype=torch.float64)
    for epsilon in (0.1, 1.0):
        found = Mahalanobis(epsilon=epsilon).distance(difference, spread)
        matrix = spread.mT @ spread / 5 + epsilon**2 * torch.eye(20, dtype=torch.float64)
        whitened = torch.linalg.solve(matrix, difference.unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(found, (difference * whitened).clamp(min=0).sqrt())
        diagonal = Mahalanobis(epsilon=epsilon, covariance="diagonal").distance(difference, spread)
        variance = spread.square().sum(dim=2) / 5
        torch.testing.assert_close(diagonal, difference.abs() / (variance + epsilon**2).sqrt())


def test_draws_without_spread_give_the_residual_over_epsilon(healthy):
    model, x, mask, run = healthy
    sick, _ = _with_lesion(x)
    model.noise = _silence
    for covariance in Mahalanobis.COVARIANCES:
        score = Mahalanobis(start=250, steps=3, draws=3, epsilon=0.2, covariance=covariance)
        found = score(model, sick, mask, run)
        expected = (sick - found.reconstruction).abs()[0] / 0.2 * mask
        torch.testing.assert_close(found.map, expected, atol=1e-5, rtol=1e-4)


def test_the_perceptual_distance_is_zero_between_equals_and_local():
    model = KnownDenoiser(torch.zeros(1))
    x = torch.rand(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    assert perceptual_distance(model, x, x).abs().max() == 0
    y = x.clone()
    y[1, 0, 8, 8] = 1 - y[1, 0, 8, 8]
    found = perceptual_distance(model, x, y)
    assert found.shape == (2, 1, SIZE, SIZE)
    assert not found[0].any()
    assert found[1].flatten().argmax() == 8 * SIZE + 8
    assert not found[1, 0, :4].any()
    torch.testing.assert_close(found, perceptual_distance(model, y, x))
    opposite = perceptual_distance(_Signed(), torch.ones(1, 1, 4, 4), -torch.ones(1, 1, 4, 4))
    torch.testing.assert_close(opposite, torch.full((1, 1, 4, 4), 4.0))


class _Signed:
    def feature_maps(self, x):
        return [x, x[..., ::2, ::2]]


def _silence(_, like):
    return torch.zeros_like(like[:1])
