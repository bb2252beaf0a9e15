from __future__ import annotations

import math

import pytest
import torch

from aberra.errors import ConfigError
from aberra.nets.flows import (
    ActNorm,
    Coupling,
    Flow,
    Mixing,
    MultiScale,
    Permutation,
    Squeeze,
    log_normal,
    vector_flow,
)


def _moved(flow, by=0.2):
    """The same flow with random weights, so that no coupling is the identity."""
    generator = torch.Generator().manual_seed(0)
    for weight in flow.parameters():
        weight.data += by * torch.randn(weight.shape, generator=generator)
    return flow.double().eval()


def _glow(dims=2, channels=1, size=(4, 8), **options):
    torch.manual_seed(0)
    options = {"levels": 2, "steps": 2, "width": 4} | options
    return MultiScale(channels=channels, dims=dims, size=size, **options)


def _layers():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Tanh(), torch.nn.Linear(5, 6))
    back = torch.nn.Linear(3, 4)
    return [
        ("coupling", Coupling(net, 2), (5,)),
        ("coupling, last kept", Coupling(back, 3, last=True), (5,)),
        ("actnorm", ActNorm(5), (5,)),
        ("actnorm of images", ActNorm(2), (2, 3, 2)),
        ("mixing", Mixing(4), (4,)),
        ("mixing of images", Mixing(3), (3, 2, 2)),
        ("permutation", Permutation(5), (5,)),
        ("squeeze", Squeeze(), (2, 4, 2)),
        ("squeeze of volumes", Squeeze(), (1, 2, 4, 2)),
        ("RealNVP", vector_flow(5, blocks=2, width=6), (5,)),
        ("Glow", _glow(), (1, 4, 8)),
        ("Glow of volumes, two channels", _glow(3, 2, (4, 4, 4), steps=1), (2, 4, 4, 4)),
    ]


@pytest.mark.parametrize(
    ("name", "layer", "shape"), _layers(), ids=lambda each: each if isinstance(each, str) else ""
)
def test_the_log_determinant_is_that_of_autograds_jacobian_and_the_inverse_undoes(name, layer, shape):
    layer = _moved(layer)
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    y, found = layer(x)
    torch.testing.assert_close(layer.inverse(y), x, atol=1e-9, rtol=1e-9)
    for row, value in zip(x, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda one: layer(one[None])[0][0].flatten(), row)
        expected = torch.linalg.slogdet(jacobian.reshape(row.numel(), -1)).logabsdet
        torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-9)


def test_a_deep_flow_is_undone_in_single_precision():
    flow = _moved(_glow(size=(32, 32), levels=3, steps=4, width=16), by=0.03).float()
    x = torch.rand(2, 1, 32, 32)
    z, _ = flow(x)
    assert z.shape == (2, 32 * 32)
    torch.testing.assert_close(flow.inverse(z), x, atol=1e-4, rtol=0)


def test_a_flow_of_identity_couplings_is_the_standard_normal():
    torch.manual_seed(0)
    flow, z = vector_flow(6, blocks=4, width=8), torch.randn(5, 6)
    white, log_determinant = flow(z)
    assert not log_determinant.any()
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=1)
    torch.testing.assert_close(log_normal(white) + log_determinant, expected)


def test_the_scale_of_a_coupling_is_bounded():
    net = torch.nn.Linear(1, 2)
    net.weight.data.fill_(100.0)
    coupling = Coupling(net, 1, clamp=0.5)
    _, found = coupling(torch.tensor([[50.0, 1.0], [-50.0, 1.0]]))
    assert found.tolist() == pytest.approx([0.5, -0.5])


def test_actnorm_begins_with_the_first_batch_of_the_training_and_then_stays():
    layer, x = ActNorm(3), 5 + 2 * torch.randn(64, 3, 4, 4)
    before, _ = layer.eval()(x)
    assert torch.equal(before, x)
    y, _ = layer.train()(x)
    rows = y.transpose(0, 1).flatten(1)
    torch.testing.assert_close(rows.mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(dim=1), torch.ones(3), atol=1e-4, rtol=0)
    offset = layer.offset.clone()
    layer(10 * x)
    assert torch.equal(layer.offset, offset)


def test_actnorm_begins_alike_in_all_processes_of_a_training(monkeypatch):
    x = torch.randn(64, 3)

    def all_reduce(values):
        values += 5.0  # what another process has

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    layer = ActNorm(3).train()
    layer(x)
    torch.testing.assert_close(layer.offset.detach(), -(x.mean(dim=0) + 5) / 2)
    torch.testing.assert_close(layer.log_scale.detach(), -((x.std(dim=0) + 5) / 2).log())


def test_an_edge_that_cannot_be_squeezed_is_refused():
    with pytest.raises(ConfigError, match="divisible by 8"):
        _glow(size=(36, 32), levels=3)


def test_half_of_the_features_leaves_after_each_level():
    flow = _glow(size=(16, 16), levels=3)
    assert [math.prod(shape) for shape in flow.shapes] == [128, 64, 64]


def test_a_chain_of_layers_adds_their_log_determinants():
    parts = [_moved(ActNorm(3)), _moved(Mixing(3))]
    x = torch.randn(4, 3, dtype=torch.float64)
    middle, first = parts[0](x)
    y, second = parts[1](middle)
    chained, total = Flow(*parts)(x)
    torch.testing.assert_close(chained, y)
    torch.testing.assert_close(total, first + second)
