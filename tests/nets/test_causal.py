from __future__ import annotations

import pytest
import torch
from torch import nn

from aberra.nets.causal import CausalAttention, CausalConv, GatedBlock


@pytest.mark.parametrize(("dims", "dilation"), [(2, 1), (2, 3), (3, 1)])
@pytest.mark.parametrize("sees_itself", [False, True])
def test_a_place_sees_what_comes_before_and_nothing_else(dims, dilation, sees_itself):
    torch.manual_seed(0)
    layer = CausalConv(2, 3, dims=dims, dilation=dilation, sees_itself=sees_itself)
    x = torch.randn(1, 2, *[7] * dims, requires_grad=True)
    out = layer(x).flatten(2)
    middle = out.shape[2] // 2
    (gradient,) = torch.autograd.grad(out[0, :, middle].sum(), x)
    seen = gradient.abs().sum(dim=1).flatten().nonzero()[:, 0].tolist()
    assert len(seen) == 3**dims // 2 + sees_itself
    assert max(seen) == middle if sees_itself else max(seen) < middle


def test_what_is_not_masked_is_a_convolution():
    torch.manual_seed(0)
    layer = CausalConv(2, 3, dims=2, dilation=2, sees_itself=True)
    plain = nn.Conv2d(2, 3, 3, padding=2, dilation=2)
    plain.load_state_dict(layer.inner.state_dict())
    with torch.no_grad():
        plain.weight[:, :, 2] = plain.weight[:, :, 1, 2] = 0
    x = torch.randn(2, 2, 6, 5)
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 2)])
def test_attention_sees_every_place_before_and_no_other(size):
    torch.manual_seed(0)
    attention = CausalAttention(4, dims=len(size))
    x, here = torch.randn(2, 1, 4, *size)
    here.requires_grad_()
    found = attention(x, here).flatten(2)
    for place in range(found.shape[2]):
        (slope,) = torch.autograd.grad(found[..., place].square().sum(), here, retain_graph=True)
        reached = slope.flatten(2).abs().sum(dim=(0, 1)) > 0
        assert reached.tolist() == [index < place for index in range(len(reached))]


def test_a_gated_block_does_not_look_ahead():
    torch.manual_seed(0)
    block = GatedBlock(4, dims=2)
    x = torch.randn(1, 4, 3, 5, requires_grad=True)
    (slope,) = torch.autograd.grad(block(x)[..., 1, 2].sum(), x)
    reached = (slope.abs().sum(dim=(0, 1)) > 0).int().tolist()
    assert reached == [[0, 1, 1, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
