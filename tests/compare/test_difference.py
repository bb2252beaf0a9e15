from __future__ import annotations

import torch

from aberra.compare.difference import signed


def test_the_two_signs_add_up_to_the_absolute_value():
    difference = torch.tensor([2.0, -2.0, 0.0])
    assert signed(difference, "absolute").tolist() == [2, 2, 0]
    assert signed(difference, "positive").tolist() == [2, 0, 0]
    assert signed(difference, "negative").tolist() == [0, 2, 0]
