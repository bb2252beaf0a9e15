from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from aberra.nets.domains import (
    class_discrepancy,
    clustered,
    confusion,
    domain_head,
    means_of,
    reversed_gradient,
    supervised_contrast,
)


def _codes(count, seed=0, features=4):
    x = torch.randn(count, features, generator=torch.Generator().manual_seed(seed))
    return F.normalize(x, dim=1)


def test_a_reversed_gradient_leaves_values_and_turns_gradients():
    x = _codes(3).requires_grad_()
    found = reversed_gradient(x, 0.25)
    assert torch.equal(found, x)
    (plain,) = torch.autograd.grad((x**2).sum(), x)
    (turned,) = torch.autograd.grad((reversed_gradient(x, 0.25) ** 2).sum(), x)
    assert torch.allclose(turned, -0.25 * plain)


def test_confusion_is_least_where_the_answer_is_uniform():
    head = domain_head(4)
    torch.nn.init.zeros_(head[2].weight)
    torch.nn.init.zeros_(head[2].bias)
    assert confusion(head, _codes(5)).item() == pytest.approx(math.log(2))
    torch.nn.init.constant_(head[2].bias[:1], 1.0)
    assert confusion(head, _codes(5)) > math.log(2)


def test_confusion_moves_features_and_not_the_head():
    head, codes = domain_head(4), _codes(5).requires_grad_()
    confusion(head, codes).backward()
    assert codes.grad.any()
    assert all(each.grad is None for each in head.parameters())


def test_supervised_contrast_is_the_publications_double_loop():
    codes, classes, tau = _codes(6), torch.tensor([0, 1, 0, 1, 1, 0]), 0.3
    total = 0.0
    for i in range(6):
        others = sum(math.exp(float(codes[i] @ codes[a]) / tau) for a in range(6) if a != i)
        mates = [p for p in range(6) if p != i and classes[p] == classes[i]]
        total -= sum(math.log(math.exp(float(codes[i] @ codes[p]) / tau) / others) for p in mates) / len(
            mates
        )
    assert float(supervised_contrast(codes, classes, tau)) == pytest.approx(total / 6, rel=1e-5)


def test_an_image_without_a_mate_has_no_contrast():
    codes = _codes(3)
    assert not supervised_contrast(codes[:2], torch.tensor([0, 1]), 0.1)
    pair = supervised_contrast(codes, torch.tensor([0, 0, 1]), 0.1)
    assert torch.isfinite(pair)


def test_discrepancy_is_zero_between_equal_domains_of_one_class():
    codes, ones = _codes(5), torch.ones(5, dtype=torch.long)
    assert float(class_discrepancy(codes, codes, ones, ones)) == pytest.approx(0, abs=1e-6)


def test_discrepancy_rises_with_the_gap_of_a_class_and_falls_with_that_between_classes():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    zeros, both = torch.zeros(4, dtype=torch.long), torch.tensor([0, 0, 1, 1])
    apart = class_discrepancy(a.repeat(4, 1), b.repeat(4, 1), zeros, zeros)
    assert apart > 0.1
    clean = torch.cat([a, a, b, b])
    mixed = torch.cat([a, b, a, b])
    assert class_discrepancy(clean, clean, both, both) < class_discrepancy(mixed, mixed, both, both)


def test_a_domain_without_images_has_no_discrepancy():
    codes, classes = _codes(3), torch.tensor([0, 1, 0])
    assert not class_discrepancy(codes, codes[:0], classes, classes[:0])


def test_clusters_follow_the_classes_that_they_start_from():
    source, classes = torch.tensor([[1.0, 0.1], [0.1, 1.0]]), torch.tensor([1, 0])
    target = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert clustered(F.normalize(target, dim=1), means_of(source, classes)).tolist() == [1, 1, 0]
