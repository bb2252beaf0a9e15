"""U-Nets that learn lesion masks, with and without scans that nobody has outlined."""

from __future__ import annotations

import pytest
import torch

from aberra.batch import Batch
from aberra.capabilities import Grows, LearnsFromLesions, LearnsFromUnlabelled, Segments
from aberra.errors import ConfigError
from aberra.kinds import GUESSES, UNTOLD
from aberra.models.anomaly_segmenter import AnomalySegmenter
from aberra.models.unet import UNet, class_weights, soft_dice
from aberra.models.unet_embedding import UNetEmbedding, manifold_loss
from aberra.workflows.start import Start

NETWORK = {"name": "unet", "width": 4, "depth": 2}
ADDED = {"name": "unet-added", "widths": [4, 8]}


def _seed(number=0):
    return torch.Generator().manual_seed(number)


def _model(cls=UNet, **options):
    torch.manual_seed(0)
    return cls(**{"channels": 1, "dims": 2, "size": (16, 16), "network": NETWORK} | options)


def _batch(dims=2):
    x = torch.rand(4, 1, *(16,) * dims, generator=_seed(1))
    lesion = (torch.rand(x.shape, generator=_seed(2)) < 0.2).float()
    return Batch(x, torch.ones_like(x), _seed(3), lesion=lesion)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("network", [NETWORK, ADDED], ids=["concatenated", "added"])
@pytest.mark.parametrize("classes", [1, 3])
def test_its_map_is_a_probability_and_all_of_it_learns(dims, network, classes):
    model = _model(dims=dims, size=(16,) * dims, network=network, classes=classes)
    assert isinstance(model, LearnsFromLesions)
    assert isinstance(model, Segments)
    assert isinstance(model, Grows)
    assert not isinstance(model, LearnsFromUnlabelled)
    batch = _batch(dims)
    model.loss(batch)["loss"].backward()
    assert all(each.grad is not None for each in model.parameters())
    with torch.no_grad():
        (p,) = model.segmentations(batch.x, 1)
        well, sick = model.logarithms(model.network(batch.x))
    assert p.shape == batch.x.shape
    torch.testing.assert_close(well.exp() + sick.exp(), torch.ones_like(p))
    assert p.mean() < 0.2  # lesions are rare before it has learnt


def test_the_loss_is_what_is_printed():
    model, batch = _model(dice=0.5), _batch()
    (p,) = model.segmentations(batch.x, 1)
    t, mask = batch.lesion, batch.mask.clone()
    mask[:, :, :4] = 0
    entropy = -(t * p.log() + (1 - t) * (1 - p).log())[mask > 0].mean()
    dice = 1 - (2 * (p * t * mask).sum() + 1) / ((p * mask).sum() + (t * mask).sum() + 1)
    torch.testing.assert_close(model.loss(batch._replace(mask=mask))["loss"], entropy + 0.5 * dice)


def test_nothing_is_learnt_outside_the_mask():
    model, batch = _model(balance="median-frequency"), _batch()
    mask = torch.zeros_like(batch.mask)
    mask[:, :, :, 8:] = 1
    other = torch.where(mask > 0, batch.lesion, 1 - batch.lesion)
    one, two = (model.loss(batch._replace(mask=mask, lesion=each))["loss"] for each in (batch.lesion, other))
    torch.testing.assert_close(one, two)


def test_dice_is_nothing_where_all_is_right_and_counts_what_is_found_in_vain():
    truth, mask = _batch().lesion, _batch().mask
    assert soft_dice(truth, truth, mask) == 0
    nothing = torch.zeros_like(truth)
    assert soft_dice(nothing, nothing, mask) == 0
    torch.testing.assert_close(soft_dice(mask, nothing, mask), 1 - 1 / (mask.sum() + 1))


def test_rare_classes_weigh_more_by_the_median_of_their_frequencies():
    """A tenth of one sample of two is lesion: its frequency is 0.1, that of healthy 1.9 / 2."""
    truth = torch.zeros(2, 1, 10, 10)
    truth[0, 0, 0] = 1
    light, heavy = class_weights(truth, torch.ones_like(truth))
    median = (0.1 + 0.95) / 2
    assert float(light) == pytest.approx(median / 0.95)
    assert float(heavy) == pytest.approx(median / 0.1)
    assert [float(each) for each in class_weights(torch.zeros_like(truth), torch.ones_like(truth))] == [1, 1]


def test_started_from_a_segmenter_of_planted_lesions_it_is_that_segmenter():
    torch.manual_seed(1)
    shape = {"channels": 1, "dims": 3, "size": (16, 16, 16)}
    teacher = AnomalySegmenter(**shape, widths=[4, 8])
    student = UNet(**shape, network=ADDED, classes=3)
    Start("there", teacher.state_dict()).begin(student)
    x = torch.rand(1, 1, 16, 16, 16, generator=_seed())
    with torch.no_grad():
        (kinds,), (p,) = teacher.segmentations(x, 1), student.segmentations(x, 1)
    torch.testing.assert_close(p, kinds.sum(dim=1, keepdim=True))


def test_the_network_has_as_many_parameters_as_the_shipped_detectors():
    widths = [8, 24, 48, 96, 128]
    shape = {"channels": 1, "dims": 3, "size": (80, 96, 80)}
    student = UNet(**shape, network={"name": "unet-added", "widths": widths}, classes=3)
    teacher = AnomalySegmenter(**shape, widths=widths)
    counts = [sum(each.numel() for each in model.parameters()) for model in (student, teacher)]
    assert counts[0] == counts[1]


# -- embedding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", ["euclidean", "angular"])
def test_equal_features_of_one_class_have_no_loss(distance):
    h = torch.rand(1, 6, generator=_seed()).expand(8, 6)
    loss = manifold_loss(h, torch.ones(8), margin=1.0, distance=distance)
    assert float(loss) == pytest.approx(0, abs=1e-12)


def test_classes_are_pushed_apart_within_the_margin_only():
    classes = torch.tensor([0.0, 1.0])
    for apart, expected in ((0.25, 0.75**2), (1.0, 0.0), (3.0, 0.0)):
        h = torch.tensor([[0.0, 0.0], [apart, 0.0]], requires_grad=True)
        loss = manifold_loss(h, classes, margin=1.0, distance="euclidean")
        assert float(loss.detach()) == pytest.approx(expected, abs=1e-6)
        loss.backward()
        assert (h.grad.abs().sum() > 0) == (expected > 0)


def test_the_loss_is_the_mean_over_pairs():
    h = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.5, 0.0]])
    loss = manifold_loss(h, torch.tensor([0.0, 0.0, 1.0]), margin=1.0, distance="euclidean")
    assert float(loss) == pytest.approx((4.0 + 0.5**2 + 0.0) / 3, abs=1e-6)


def test_an_angle_does_not_depend_on_length():
    h, classes = torch.randn(10, 5, generator=_seed()), torch.arange(10) % 2
    scaled = h * torch.rand(10, 1, generator=_seed(1)).add(0.1) * 40
    one, two = (manifold_loss(each, classes, margin=0.7, distance="angular") for each in (h, scaled))
    torch.testing.assert_close(one, two)


def test_gradients_are_those_of_finite_differences():
    h = torch.randn(6, 3, generator=_seed(), dtype=torch.double, requires_grad=True)
    for distance in ("euclidean", "angular"):
        assert torch.autograd.gradcheck(
            lambda each, d=distance: manifold_loss(each, torch.arange(6) % 2, margin=1.0, distance=d), h
        )


def test_without_weights_it_is_the_u_net_and_unlabelled_samples_teach_nothing():
    batch = _batch()
    untold = batch.lesion.clone()
    untold[2:] += GUESSES
    plain, embedded = _model(), _model(UNetEmbedding, embedding=[0.0, 0.0])
    outlined = Batch(batch.x[:2], batch.mask[:2], _seed(), lesion=batch.lesion[:2])
    expected = plain.loss(outlined)["loss"]
    expected.backward()
    found = embedded.loss(batch._replace(lesion=untold))["loss"]
    found.backward()
    torch.testing.assert_close(found, expected)
    for one, two in zip(plain.parameters(), embedded.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize(("sampling", "share"), [("half", 0.5), ("80/20", 0.2)])
def test_voxels_are_sampled_in_the_shares_that_are_asked_for(sampling, share):
    model = _model(UNetEmbedding, sampling=sampling, voxels=50)
    batch = _batch()
    classes = batch.lesion.clone()
    classes[3] = UNTOLD
    features = classes.clone()
    h, drawn = model.sampled(features, classes, _seed())
    assert float(drawn.mean()) == pytest.approx(share)
    torch.testing.assert_close(h[:, 0], drawn)  # features are those at the classes' voxels


def test_voxels_by_distribution_are_as_rare_as_lesions():
    model = _model(UNetEmbedding, sampling="distribution", voxels=4000)
    classes = _batch().lesion
    _, drawn = model.sampled(classes, classes, _seed())
    assert float(drawn.mean()) == pytest.approx(float(classes.mean()), abs=0.03)


def test_a_prior_is_a_guess_or_what_the_network_says():
    given, own = _model(UNetEmbedding), _model(UNetEmbedding, prior="own")
    lesion = torch.tensor([0.0, 1.0, GUESSES, 1 + GUESSES, UNTOLD, UNTOLD]).reshape(1, 1, 1, 6)
    out = torch.tensor([-9.0, -9.0, 9.0, -9.0, 9.0, -9.0]).reshape(1, 1, 1, 6)
    assert given.classes_of(lesion, out).flatten().tolist() == [0, 1, 0, 1, UNTOLD, UNTOLD]
    assert own.classes_of(lesion, out).flatten().tolist() == [0, 1, 0, 1, 1, 0]


def test_guesses_move_the_features_alone():
    model, batch = _model(UNetEmbedding, embedding=[0.0, 1.0]), _batch()
    assert isinstance(model, LearnsFromUnlabelled)
    nobody = batch._replace(lesion=batch.lesion + GUESSES)
    losses = model.loss(nobody)
    assert float(losses["embedding"].detach()) > 0
    losses["loss"].backward()
    assert not model.network.head.weight.grad.abs().sum()
    assert sum(float(each.grad.abs().sum()) for each in model.network.down.parameters()) > 0
    model.eval()
    held_out, outlined = model.loss(nobody), model.loss(batch)
    assert "embedding" not in held_out
    torch.testing.assert_close(held_out["loss"], outlined["loss"])  # else nothing would be watched


def test_more_levels_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="expected 2 weights at most"):
        _model(UNetEmbedding, embedding=[0.1, 0.1, 0.1])
