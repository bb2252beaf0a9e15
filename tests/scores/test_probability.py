from __future__ import annotations

import pytest
import torch

from aberra.detector.question import Question
from aberra.detector.windows import Runner
from aberra.errors import PairingError
from aberra.method import Method
from aberra.models.vae import VAE
from aberra.scores import check_pairing
from aberra.scores.probability import Probability


class BrightIsDiseased(torch.nn.Module):
    """log-odds of diseased: the mean of the image."""

    def reconstruct(self, x):
        return x

    def classify(self, x):
        odds = x.flatten(1).mean(dim=1)
        return torch.nn.functional.logsigmoid(torch.stack([-odds, odds], dim=1))


def test_every_slice_has_its_own_probability():
    x, mask = torch.randn(1, 4, 6, 6), torch.ones(4, 6, 6, dtype=torch.bool)
    mask[2] = False
    found = Probability()(BrightIsDiseased(), x, mask, Runner(dims=2, size=(6, 6))).inside(mask).map
    expected = torch.sigmoid(x[0].mean(dim=(1, 2)))
    torch.testing.assert_close(found, expected[:, None, None] * mask)


def test_a_volume_has_one_in_three_dimensions():
    x, mask = torch.randn(1, 4, 6, 6), torch.ones(4, 6, 6, dtype=torch.bool)
    found = Probability()(BrightIsDiseased(), x, mask, Runner(dims=3, size=(4, 6, 6))).map
    torch.testing.assert_close(found, torch.sigmoid(x.mean()).expand(4, 6, 6))


def test_only_a_question_of_the_case_makes_its_score_a_probability():
    model = BrightIsDiseased()
    method = Method.load("vae")
    assert not Question.of(method, model).of_disease
    asked = Method.load("vae", {"case.score": {"name": "probability"}, "case.reduce": "mean"})
    assert Question.of(asked, model).of_disease
    residual = Method.load("vae", {"case.score": {"name": "residual"}})
    assert not Question.of(residual, model).of_disease


def test_a_model_has_to_classify():
    with pytest.raises(PairingError, match="needs Classifies"):
        check_pairing(VAE, Probability())
