from __future__ import annotations

import pytest
import torch

from aberra.capabilities import Denoises, HasFeatures, Reconstructs
from aberra.compare.comparison import Comparison
from aberra.detector.windows import Runner
from aberra.errors import ConfigError
from aberra.models.ddpm import DDPM
from aberra.registry import names
from aberra.restore.partial_diffusion import Chain
from aberra.scores.residual import Residual
from known_denoiser import SIZE, KnownDenoiser, with_lesion


class Everything(KnownDenoiser):
    """Answers whatever a restoration asks: the best denoiser, a VAE without a code, a generator of
    its mean, a judge of brightness.
    """

    def restore_boxes(self, x, start):
        return self.denoise(self.process().add_noise(x, self.noise(0, x), start), start).image

    def reconstruct(self, x):
        return (x + self.mean) / 2

    def sample_reconstructions(self, x, count):
        for draw in range(count):
            yield (self.mean + 0.01 * self.noise(draw, x)).expand_as(x)

    def surprise(self, x):
        return (x - self.mean).abs().flatten(1)

    def resampled(self, x, threshold, count):
        del threshold
        return self.sample_reconstructions(x, count)

    def elbo_terms(self, x):
        error = (x - self.mean).abs().flatten(1).sum(dim=1)
        return error, torch.zeros_like(error)

    def generate(self, z):
        return self.mean + z[:, :1, None, None]

    def latent_shape(self):
        return (1,)

    def features(self, x):
        return x.flatten(1).mean(dim=1, keepdim=True)

    def log_healthy(self, noisy, t):
        del t
        return torch.nn.functional.logsigmoid(-(noisy - self.mean).flatten(1).sum(dim=1) / 10)

    def checked_healthy(self, x):
        return self.log_healthy(x, 1)

    def cycle(self, x, *, inhibited=True):
        return self.reconstruct(x) if inhibited else x


RESTORES = {
    "reconstruct": {},
    "cycle": {},
    "draws": {"draws": 3},
    "restoration": {"steps": 10, "length": 0.5},
    "latent-search": {"steps": 20},
    "partial-diffusion": {"steps": 5},
    "patched-diffusion": {"start": 250},
    "guided": {"steps": 5, "start": 250, "scale": 5.0},
    "autoddpm": {"steps": 5, "inpaint_steps": 2, "resamples": 1, "threshold": 1e-3, "scale": 0.05},
    "thor": {"steps": 10, "scale": 1e-3},
    "resampled-codes": {"draws": 3, "threshold": 5.0},
}
"""Options that make each quick."""


def _scores(brain):
    model, x, mask, run = brain
    return Everything(model.mean), x, mask, run


def test_every_restoration_is_tried():
    assert set(RESTORES) == set(names("restore"))


@pytest.mark.parametrize("restore", RESTORES)
@pytest.mark.parametrize("mode", [mode for mode in Comparison.MODES if mode != "evidence"])
def test_any_restoration_is_compared_in_any_way(restore, mode, brain):
    model, x, mask, run = _scores(brain)
    sick, lesion = with_lesion(x)
    score = Residual(
        restore={"name": restore, **RESTORES[restore]}, compare={"mode": mode, "centre": mode != "perceptual"}
    )
    found = score(model, sick, mask, run).inside(mask)
    assert found.map.shape == mask.shape
    assert found.reconstruction.shape == x.shape
    assert (found.map >= 0).all()
    if mode == "negative":
        assert found.map[lesion].mean() < found.map[mask & ~lesion].mean() + 1e-3
    else:
        assert found.map[lesion].mean() > 2 * found.map[mask & ~lesion].mean()


@pytest.mark.parametrize("options", [{"draws": 3}, {"draws": 3, "average": True}])
def test_comparisons_of_several_versions_are_averaged_or_the_mean_is_compared(options, linear):
    model, x, mask, run = linear
    with torch.no_grad():
        draws = torch.stack(list(model.sample_reconstructions(x.transpose(0, 1), 3)))[:, :, 0]
    for mode in ("absolute", "positive"):
        found = Residual(restore={"name": "draws", **options}, compare={"mode": mode})(
            model, x, mask, run
        ).inside(mask)
        apart = x[0] - (draws.mean(dim=0, keepdim=True) if options.get("average") else draws)
        expected = apart.abs() if mode == "absolute" else apart.clamp(min=0)
        torch.testing.assert_close(found.map, expected.mean(dim=0) * mask)
        torch.testing.assert_close(found.reconstruction[0], draws.mean(dim=0) * mask)


def test_centring_several_versions_takes_the_level_of_their_mean(linear):
    model, x, mask, run = linear
    with torch.no_grad():
        draws = torch.stack(list(model.sample_reconstructions(x.transpose(0, 1), 3)))[:, :, 0]
    level = (x[0] - draws.mean(dim=0))[mask].median()
    found = Residual(restore={"name": "draws", "draws": 3}, compare={"centre": True})(
        model, x, mask, run
    ).inside(mask)
    torch.testing.assert_close(found.map, (x[0] - draws - level).abs().mean(dim=0) * mask)


def test_centring_takes_a_brain_that_is_brighter_as_a_whole_for_healthy():
    class Brighter:
        def reconstruct(self, x):
            return x + 0.3

    x, mask, run = torch.rand(2, 3, 8, 8), torch.ones(3, 8, 8, dtype=torch.bool), Runner(dims=2, size=(8, 8))
    assert Residual()(Brighter(), x, mask, run).map.min() > 0.29
    assert Residual(compare={"centre": True})(Brighter(), x, mask, run).map.max() < 1e-6
    empty = Residual(compare={"centre": True})(Brighter(), x, torch.zeros_like(mask), run)
    assert not empty.map.any()
    assert empty.reconstruction.shape == x.shape


def test_slices_of_a_2d_model_do_not_see_each_other_in_ssim():
    class Blurs:
        def reconstruct(self, x):
            return 0.7 * x + 0.1

    x, mask, run = (
        torch.rand(1, 5, 32, 32),
        torch.ones(5, 32, 32, dtype=torch.bool),
        Runner(dims=2, size=(32, 32)),
    )
    score = Residual(compare={"mode": "ssim"})
    whole, alone = score(Blurs(), x, mask, run).map, score(Blurs(), x[:, 2:3], mask[2:3], run).map
    torch.testing.assert_close(whole[2], alone[0])


def test_anoddpm_is_the_residual_of_one_chain(brain):
    model, x, mask, run = brain
    sick, _ = with_lesion(x)
    found = Residual(restore={"name": "partial-diffusion", "steps": 5})(model, sick, mask, run)
    restored = Chain(250, 5, "ddpm")(model, sick.transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(found.reconstruction, restored)
    torch.testing.assert_close(found.map, (sick - restored).abs()[0])


CALLS = {
    "partial-diffusion": ({"steps": 10, "draws": 2}, 20),
    "autoddpm": (
        {"steps": 10, "inpaint_steps": 3, "resamples": 2, "threshold": 1e-3, "scale": 0.05},
        10 + 3 * 2,
    ),
    "thor": ({"steps": 14, "scale": 1e-3}, 14),
    "guided": ({"steps": 10, "start": 250, "scale": 5.0}, 20),
}


@pytest.mark.parametrize("restore", CALLS)
def test_the_network_is_called_as_often_as_the_settings_say(restore, brain):
    model, x, mask, run = _scores(brain)
    options, calls = CALLS[restore]
    compare = {"centre": True}  # costs a second pass only where there are several versions
    Residual(restore={"name": restore, **options}, compare=compare)(model, x, mask, run)
    assert len(model.asked) == calls


@pytest.mark.parametrize("restore", RESTORES)
def test_batch_size_does_not_matter(restore, brain):
    model, x, mask, _ = _scores(brain)
    sick, _ = with_lesion(x)
    score = Residual(restore={"name": restore, **RESTORES[restore]})
    one, four = (
        score(model, sick, mask, Runner(dims=2, size=(SIZE, SIZE), batch_size=n)).map for n in (1, 4)
    )
    torch.testing.assert_close(one, four, atol=1e-5, rtol=1e-4)


PUBLISHED = {
    "partial-diffusion": {},
    "autoddpm": {"weighted": True},
    "thor": {"mode": "evidence"},
}


@pytest.mark.parametrize("restore", PUBLISHED)
def test_the_published_pairs_run_on_a_ddpm_in_three_dimensions(restore):
    torch.manual_seed(0)
    model = DDPM(
        channels=2, dims=3, size=(8, 8, 8), network={"width": 4, "multipliers": (1, 2), "attention": ()}
    ).eval()
    x, mask = torch.rand(2, 8, 8, 8), torch.ones(8, 8, 8, dtype=torch.bool)
    score = Residual(restore={"name": restore, **RESTORES[restore]}, compare=PUBLISHED[restore])
    found = score(model, x, mask, Runner(dims=3, size=(8, 8, 8)))
    assert found.map.shape == mask.shape
    assert torch.isfinite(found.map).all()


@pytest.mark.parametrize("restore", PUBLISHED)
def test_a_start_beyond_the_last_step_is_refused(restore, brain):
    with pytest.raises(ConfigError, match="1000"):
        Residual(restore={"name": restore, "start": 1001})(*brain)


def test_what_the_restoration_finds_on_healthy_cases_is_its_table():
    class Finds:
        def tune(self, _model, volumes, _run):
            return {"tv": 0.1} if volumes else {}

    score = Residual(restore={"name": "restoration", "tv": "auto", "steps": 3})
    score.restore = Finds()
    assert score.tune(None, ["case"], None) == {"restore": {"name": "restoration", "tv": 0.1, "steps": 3}}
    assert score.tune(None, [], None) == {}
    assert Residual().tune(None, [], None) == {}


def test_it_needs_what_its_parts_need():
    assert Residual().needs == (Reconstructs,)
    diffusion = {"name": "partial-diffusion"}
    assert Residual(restore=diffusion, compare={"mode": "perceptual"}).needs == (Denoises, HasFeatures)
    assert Residual(restore={"name": "thor"}, compare={"mode": "perceptual"}).needs == (Denoises, HasFeatures)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"compare": {"mode": "evidence"}}, "'reconstruct' does not keep"),
        ({"compare": {"weighted": True}, "restore": {"name": "draws"}}, "autoddpm and thor do"),
        ({"compare": {"mode": "squared"}}, r"score\.compare\.mode"),
        ({"compare": "ssim"}, "expected a table"),
        ({"restore": {"name": "restorration"}}, "Did you mean 'restoration'"),
        ({"restore": {"name": "restoration", "steps": 0}}, r"score\.restore\.steps=0"),
        ({"restore": {"steps": 3}}, r"\[score\.restore\] needs a 'name'"),
        ({"mode": "ssim"}, "unknown option"),
    ],
)
def test_options_that_cannot_work_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        Residual(**options)


def test_several_versions_have_their_own_spread_as_uncertainty(linear):
    model, x, mask, run = linear
    with torch.no_grad():
        draws = torch.stack(list(model.sample_reconstructions(x.transpose(0, 1), 5)))[:, :, 0]
    score = Residual(restore={"name": "draws", "draws": 5})
    found = score(model, x, mask, run).inside(mask)
    torch.testing.assert_close(found.uncertainty, draws.std(dim=0, correction=0) * mask)
    torch.testing.assert_close(found.map, (x - draws).abs().mean(dim=0) * mask)
    assert Residual()(model, x, mask, run).uncertainty is None
    assert Residual(restore={"name": "draws", "draws": 1})(model, x, mask, run).uncertainty is None
