from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F

from aberra.batch import Batch
from aberra.errors import ConfigError
from aberra.method import Method
from aberra.models.multitask import Multitask
from aberra.nets.transformations import COUNT
from aberra.testing.suite import subject_of

SHAPE = {"channels": 1, "size": (32, 32), "network": {"width": 2}}


def _model(**options):
    torch.manual_seed(0)
    return Multitask(**SHAPE | options)


def _batch(x, **options):
    return Batch(x, torch.ones(len(x), 1, *x.shape[2:]), torch.Generator().manual_seed(0), **options)


def test_the_head_has_ten_logits_of_the_features_before_a_code_is_drawn():
    model = Multitask(channels=1, size=(128, 128))
    assert (model.head.in_features, model.head.out_features) == (2048, 10)
    assert sum(each.numel() for each in model.parameters()) == 4_562_859
    x = torch.rand(2, 1, 128, 128)
    features = torch.cat(model.eval().encode(x), dim=1).flatten(1)  # mean and log-variance are all of them
    logits = model.logits(x)
    assert [each.shape for each in logits] == [(2, 3), (2, 3), (2, 4)]
    torch.testing.assert_close(torch.cat(logits, dim=1), model.head(features))


@pytest.mark.parametrize(("error", "power"), [("squared", 1.0), ("norm", 0.5)])
def test_the_loss_is_both_tasks_on_transformed_images(error, power):
    model, x = _model(error=error, kl_weight=3.0, weight=7.0).eval(), torch.rand(5, 1, 32, 32)
    seen = {}
    model.encoder.register_forward_pre_hook(lambda *given: seen.update(x=given[1][0]))
    model.decoder.register_forward_hook(lambda *given: seen.update(out=given[-1]))
    losses = model.loss(_batch(x, turn="reconstruction"))
    numbers = torch.randint(COUNT, (5,), generator=torch.Generator().manual_seed(0))
    transformed = model.transform(x, numbers)
    assert torch.equal(seen["x"], transformed)
    squared = (transformed - seen["out"]).square().flatten(1).mean(dim=1)
    torch.testing.assert_close(losses["image"], (squared**power).mean())
    labels = model.transform.labels[numbers]
    told = [F.cross_entropy(each, labels[:, head]) for head, each in enumerate(model.logits(transformed))]
    torch.testing.assert_close(losses["transformation"], sum(told))
    expected = losses["transformation"] + 7 * losses["image"] + 3 * losses["kl"]
    torch.testing.assert_close(losses["loss"], expected)
    torch.testing.assert_close(losses["ratio"], losses["transformation"] / losses["image"])
    assert "reconstruction" not in losses  # or validation would watch one task only
    first = model.loss(_batch(x, turn="restoration"))
    assert first["loss"] == first["reconstruction"] + 3 * first["kl"]


def test_certainty_is_the_mean_probability_of_the_true_labels():
    model, x = _model().eval(), torch.rand(4, 1, 32, 32)
    for number in (0, 13, 35):
        transformed = model.transform(x, torch.full((4,), number))
        truth = model.transform.labels[number].tolist()
        heads = [
            each.softmax(dim=1)[:, label]
            for each, label in zip(model.logits(transformed), truth, strict=True)
        ]
        torch.testing.assert_close(model.certainty(x, number), sum(heads) / 3)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    every = torch.stack([model.certainty(x, number) for number in range(model.transformations())])
    torch.testing.assert_close(every, torch.full((36, 4), (1 / 3 + 1 / 3 + 1 / 4) / 3))


@pytest.mark.parametrize("network", ["unified", {"name": "unified-spatial", "width": 4}])
def test_other_networks_have_a_head_of_their_own_features(network):
    model = _model(network=network).eval()
    assert [each.shape[1] for each in model.logits(torch.rand(2, 1, 32, 32))] == [3, 3, 4]


def test_the_weight_of_the_thesis_balances_the_losses_to_a_factor_of_ten():
    subject = subject_of("multitask")
    lines = (subject.bench.learnt(subject.method) / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines if "reconstruction_ratio" in line]
    weight = Method.load("multitask").model["weight"]
    assert 0.1 < rows[-1]["reconstruction_ratio"] / weight < 10
    chance = 2 * torch.log(torch.tensor(3.0)) + torch.log(torch.tensor(4.0))
    assert rows[-1]["reconstruction_transformation"] < 0.6 * chance


def test_slices_that_are_not_square_are_refused():
    with pytest.raises(ConfigError, match="as high as wide"):
        _model(size=(32, 64))
