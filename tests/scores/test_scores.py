from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch

from aberra.capabilities import HasGuides, MapsProbability, Reconstructs, TellsKinds, Tunes
from aberra.detector.windows import Runner
from aberra.errors import ConfigError, PairingError
from aberra.models.constant import Constant
from aberra.models.dae import DAE
from aberra.models.guided_ddpm import GuidedDDPM
from aberra.models.segnet import SegNet
from aberra.registry import lookup, names
from aberra.scores import Scored, SmoothedScore, check_pairing, options_of
from aberra.scores.direct import Direct
from aberra.scores.residual import Residual
from known_denoiser import with_lesion


@pytest.fixture
def scan():
    torch.manual_seed(0)
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, 2:7, 2:7] = True
    return torch.rand(2, 3, 8, 8), mask


def test_an_answer_is_cut_to_the_mask_whatever_it_holds(scan):
    x, mask = scan
    ones = torch.ones(mask.shape)
    found = Scored(ones, x, uncertainty=ones, kinds={2: ones}).inside(mask)
    for part in (found.map, found.reconstruction, found.uncertainty, found.kinds[2]):
        assert not part[..., ~mask].any()
        assert part[..., mask].all()
    bare = Scored(ones).inside(mask)
    assert (bare.reconstruction, bare.uncertainty, bare.kinds) == (None, None, None)


def test_smoothing_and_the_mask_are_every_scores(scan):
    x, mask = scan

    class Spike:
        needs = ()

        def __call__(self, _model, _x, mask, _run):
            found = torch.zeros(mask.shape)
            found[1, 4, 4] = found[1, 0, 0] = 1
            return Scored(found)

    run = Runner(dims=2, size=(8, 8))
    plain = SmoothedScore(Spike())(None, x, mask, run).map
    assert plain.sum() == 1
    soft = SmoothedScore(Spike(), smooth=1.0)(None, x, mask, run).map
    assert 0 < float(soft[1, 4, 5]) < float(soft[1, 4, 4]) < 1
    assert not soft[~mask].any()
    assert not soft[0].any()


def test_smooth_is_an_option_of_every_score_and_checked_once():
    assert SmoothedScore.of({"name": "direct", "smooth": 1.5}).smooth == 1.5
    assert SmoothedScore.of({"name": "residual"}).smooth == 0
    combi = SmoothedScore.of({"name": "combi", "smooth": 1.5})  # smooths its gradient instead
    assert (combi.smooth, combi.score.smooth) == (0, 1.5)
    for value in (-1.0, "abc"):
        with pytest.raises(ConfigError, match=r"score\.smooth"):
            SmoothedScore.of({"name": "gradient", "smooth": value})
    with pytest.raises(ConfigError, match="needs a 'name'"):
        SmoothedScore.of({"smooth": 1.0})


def test_options_of_a_score_are_its_own_and_those_of_its_parts():
    residual = options_of({"name": "residual", "restore": {"name": "draws", "draws": 3}})
    assert {"smooth", "restore", "restore.draws", "restore.average", "compare.mode"} <= residual
    assert "restore.tv" not in residual
    assert {"restore.draws", "of"} <= options_of({"name": "spread"})
    assert not {each for each in options_of({"name": "gradient"}) if "." in each}


def test_channels_are_averaged(scan):
    class Brighter:
        def reconstruct(self, x):
            return x + 0.5

    x, mask = scan
    run = Runner(dims=2, size=(8, 8))
    both = Residual()(Brighter(), x, mask, run).map
    each = [Residual()(Brighter(), x[c : c + 1], mask, run).map for c in range(2)]
    torch.testing.assert_close(both, sum(each) / 2)


def test_direct_takes_the_models_own_scores(scan):
    x, mask = scan
    scored = Direct()(Constant(), x, mask, Runner(dims=2, size=(8, 8))).inside(mask)
    torch.testing.assert_close(scored.map, mask.float())
    assert scored.reconstruction is None


DRAWING = {"name": "partial-diffusion", "start": 250, "steps": 4, "draws": 4, "average": False}
DIFFUSION = {
    "andi": {"name": "andi", "calls": 7},
    "mahalanobis": {"name": "mahalanobis", "epsilon": 0.05, "restore": DRAWING},
    "mahalanobis-diagonal": {
        "name": "mahalanobis",
        "epsilon": 0.05,
        "covariance": "diagonal",
        "restore": DRAWING,
    },
}


@pytest.mark.parametrize("name", DIFFUSION)
def test_scores_of_a_denoiser_find_a_lesion_whatever_the_batch(name, brain):
    model, x, mask, run = brain
    sick, lesion = with_lesion(x)
    score = SmoothedScore.of(DIFFUSION[name])
    before, after = (score(model, each, mask, run).map for each in (x, sick))
    assert (after >= 0).all()
    assert after[lesion].mean() > 5 * before[mask].mean()
    assert after[lesion].mean() > 5 * after[mask & ~lesion].mean()
    one = score(model, sick, mask, Runner(dims=2, size=run.size, batch_size=1)).map
    torch.testing.assert_close(one, after, atol=1e-6, rtol=1e-4)


def test_needs_are_the_protocols_themselves():
    for name in names("scores"):
        score = lookup("scores", name)()
        assert score.needs
        assert all(isinstance(need, type) for need in score.needs)


def test_contracts_of_scores_and_models_are_protocols():
    assert isinstance(Residual(), Tunes)
    assert not isinstance(Direct(), Tunes)
    assert isinstance(SmoothedScore.of({"name": "segmentation"}).score, MapsProbability)
    assert not isinstance(Direct(), MapsProbability)
    assert isinstance(SegNet(channels=1, size=(8, 8), width=4, levels=2, kinds=(1, 2)), TellsKinds)
    assert not isinstance(Constant(), TellsKinds)


def test_pairings_that_cannot_work_are_refused():
    with pytest.raises(
        PairingError, match=r"'Residual' needs Reconstructs.*'Constant'.*ae, .*dae, .*vae, vqvae"
    ):
        check_pairing(Constant, Residual())
    check_pairing(DAE, Residual())


def test_a_capability_has_what_those_have_that_it_is_made_of():
    class Asks:
        needs = (HasGuides,)

    class Guides:
        def guide_names(self): ...
        def told(self, name, noisy, t, *, checker=False): ...

    check_pairing(GuidedDDPM, Asks())
    with pytest.raises(PairingError, match=r"needs HasGuides.*models that do: guided-ddpm"):
        check_pairing(Guides, Asks())


def test_a_plugins_own_capability_and_a_plugin_that_cannot_be_imported(monkeypatch):
    """Neither a capability that only a plugin knows nor another plugin's broken import spoils the
    message.
    """
    from typing import Protocol

    class HasFoo(Protocol):
        def foo(self): ...

    class Asks:
        needs = (HasFoo,)

    class Foo:
        def foo(self):
            return 1

    plugin = ModuleType("aberra_test_plugin")
    plugin.Foo = Foo
    monkeypatch.setitem(sys.modules, "aberra_test_plugin", plugin)
    known = names("models") | {"broken": "aberra_no_such_module:Model", "foo": "aberra_test_plugin:Foo"}
    monkeypatch.setattr("aberra.scores.names", lambda kind: known if kind == "models" else names(kind))
    monkeypatch.setattr("aberra.registry.names", lambda kind: known if kind == "models" else {})
    check_pairing(Foo(), Asks())
    with pytest.raises(PairingError, match=r"needs HasFoo.*models that do: foo$"):
        check_pairing(DAE, Asks())
    assert Reconstructs not in Asks.needs
