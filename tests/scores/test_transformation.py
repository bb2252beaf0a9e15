from __future__ import annotations

import numpy as np
import pytest
import torch

from aberra.detector.windows import Runner
from aberra.errors import ConfigError, PairingError
from aberra.models.vae import VAE
from aberra.scores import check_pairing
from aberra.scores.transformation import Transformation
from aberra.volume import Volume

RUN = Runner(dims=2, size=(8, 8), device="cpu")


class Known:
    """A head and a reconstruction of which all is known: certainty falls and the residual grows
    with the mean of the slice.
    """

    def __init__(self, certainty=0.9, residual=0.1, slope=1.0):
        self.level, self.residual, self.slope = certainty, residual, slope
        self.asked = []

    def transformations(self):
        return 36

    def certainty(self, x, number):
        self.asked.append(number)
        offset = 0.001 * (number - 17.5)  # zero on average
        return self.level - self.slope * 0.5 * x.flatten(1).mean(dim=1) + offset

    def reconstruct(self, x):
        return x - self.residual - self.slope * x.flatten(1).mean(dim=1).reshape(-1, 1, 1, 1)


def _scan(levels):
    """Slices of one intensity each, (1, D, 8, 8)."""
    return torch.tensor(levels).reshape(1, -1, 1, 1).expand(1, -1, 8, 8).contiguous()


def _scored(model, levels, **options):
    x = _scan(levels)
    return Transformation(**options)(model, x, torch.ones(x.shape[1:], dtype=torch.bool), RUN)


def _volume(levels):
    return Volume(data=_scan(levels).numpy().astype(np.float32), affine=np.eye(4))


def test_the_map_is_the_mix_of_both_parts():
    model = Known()
    scored = _scored(model, [0.2, 0.4], mix=0.25, scale=3.0)
    for level, found in zip((0.2, 0.4), scored.map, strict=True):
        expected = 0.75 * (1 - (0.9 - 0.5 * level)) + 0.25 * 3 * (0.1 + level)
        torch.testing.assert_close(found, torch.full((8, 8), expected))
    torch.testing.assert_close(scored.reconstruction, _scan([0.2 - 0.3, 0.4 - 0.5]))
    assert set(model.asked) == set(range(36))


def test_either_part_can_be_asked_alone():
    head = _scored(Known(), [0.2], mix=0.0, scale=3.0).map
    torch.testing.assert_close(head, torch.full((1, 8, 8), 0.2))
    residual = _scored(Known(), [0.2], mix=1.0, scale=1.0).map
    torch.testing.assert_close(residual, torch.full((1, 8, 8), 0.3))


def test_the_identity_alone_asks_for_number_0():
    model = Known()
    found = _scored(model, [0.2], mix=0.0, over="identity").map
    assert set(model.asked) == {0}
    torch.testing.assert_close(found, torch.full((1, 8, 8), 0.2 + 0.0175))


def test_a_sure_head_and_a_copied_image_score_nothing():
    assert not _scored(Known(certainty=1.0, residual=0.0, slope=0.0), [0.5], scale=5.0).map.abs().max() > 1e-6


def test_the_score_rises_with_doubt_and_residual_and_as_printed_it_does_not():
    def rises(certainty, residual, **options):
        before = _scored(Known(), [0.2], mix=0.5, scale=1.0, **options).map.mean()
        after = _scored(Known(certainty, residual), [0.2], mix=0.5, scale=1.0, **options).map.mean()
        return bool(after > before + 1e-6)

    for certainty, residual in ((0.7, 0.1), (0.9, 0.3), (0.7, 0.3)):
        assert rises(certainty, residual)
    assert not rises(0.7, 0.1, as_printed=True)  # less sure, lower score
    assert not rises(0.7, 0.3, as_printed=True)  # what is worse in both respects cancels


def test_scale_and_mix_are_those_of_healthy_slices():
    levels = np.linspace(0, 0.4, 21).tolist()
    model = Known()
    found = Transformation().tune(model, iter([_volume(levels[:10]), _volume(levels[10:])]), RUN)
    residual, certainty = 0.1 + np.array(levels), 0.9 - 0.5 * np.array(levels)
    scale = 1 / np.quantile(residual, 0.95)
    assert found["scale"] == pytest.approx(scale, rel=1e-4)
    # at that λ, both parts vary equally
    parts = (1 - found["mix"]) * certainty.std(), found["mix"] * scale * residual.std()
    assert parts[0] == pytest.approx(parts[1], rel=1e-4)
    tuned = Transformation(**found)
    assert (tuned.mix, tuned.scale) == (found["mix"], found["scale"])
    assert tuned.tune(model, iter([_volume(levels)]), RUN) == {}


def test_what_is_set_is_kept():
    volume = _volume([0.0, 0.2, 0.4])
    assert Transformation(mix=0.5).tune(Known(), iter([volume]), RUN).keys() == {"scale"}
    found = Transformation(scale=2.0).tune(Known(), iter([volume]), RUN)
    assert found.keys() == {"mix"}
    assert found["mix"] == pytest.approx(0.5 / 2.5, rel=1e-4)  # spreads of 0.5·s and 2·s


def test_a_part_that_does_not_vary_does_not_take_the_whole_score():
    flat = Known(slope=0.0)
    assert Transformation().tune(flat, iter([_volume([0.1, 0.3])]), RUN)["mix"] in (0.1, 0.5, 0.9)
    assert Transformation().tune(Known(), iter([]), RUN) == {"mix": 0.5, "scale": 1.0}


def test_a_model_without_a_head_is_refused():
    with pytest.raises(PairingError, match=r"TellsTransformations.*models that do: multitask"):
        check_pairing(VAE, Transformation())


@pytest.mark.parametrize("options", [{"mix": 1.5}, {"scale": 0}, {"over": "some"}, {"mix": "atuo"}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Transformation(**options)
