from __future__ import annotations

from itertools import combinations

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from aberra.densities.map_density import BATCH, Maps
from aberra.densities.memory_bank import MemoryBank, coreset
from aberra.errors import ConfigError, NotFittedError, TrainingError

SHAPE = {"features": 3, "size": (4, 5)}


def _maps(count, seed=0):
    z = torch.randn(count, 3, 4, 5, generator=torch.Generator().manual_seed(seed))
    return Maps(z * torch.tensor([1.0, 100.0, 0.01]).view(-1, 1, 1), lambda z: z)


def _fitted(maps, **options):
    bank = MemoryBank(**SHAPE, **({"budget": 4000, "candidates": 4000} | options))
    return bank, bank.fit(maps, _maps(3, seed=1), seed=0)


def test_with_a_full_bank_what_was_learnt_from_is_at_distance_0_and_nothing_else_is():
    learnt, new = _maps(BATCH + 8), _maps(6, seed=2)
    bank, found = _fitted(learnt)
    assert found["bank"] == len(learnt) * 20
    assert found["radius"] == 0
    assert not bank.energy(learnt.x).any()
    assert (bank.energy(new.x) > 0).all()


@pytest.mark.parametrize("neighbours", [1, 4])
def test_the_energy_is_the_mean_distance_of_the_nearest_neighbours(neighbours):
    learnt, new = _maps(30), _maps(4, seed=2)
    bank, found = _fitted(learnt, budget=100, neighbours=neighbours)
    assert found["bank"] == 100 == int(bank.count)
    rows = bank._standard(new.x).movedim(1, -1).reshape(-1, 3)
    distance, _ = NearestNeighbors(n_neighbors=neighbours).fit(bank.bank.numpy()).kneighbors(rows.numpy())
    expected = torch.from_numpy(distance.mean(axis=1)).float().view(4, 4, 5)
    torch.testing.assert_close(bank.energy(new.x), expected, rtol=1e-4, atol=1e-5)


def test_units_of_the_features_do_not_matter():
    learnt, new, units = _maps(30), _maps(4, seed=2), torch.tensor([5.0, 0.1, 3.0]).view(-1, 1, 1)
    one, _ = _fitted(learnt, budget=50)
    other, _ = _fitted(learnt.then(lambda z: z * units), budget=50)
    torch.testing.assert_close(other.energy(new.x * units), one.energy(new.x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("budget", [1, 3, 7])
def test_a_coreset_keeps_its_budget_and_leaves_none_farther_than_twice_the_least_radius(budget):
    rows = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    chosen = coreset(rows, budget)
    assert len(chosen) == budget
    apart = torch.cdist(rows, rows)
    least = min(float(apart[:, list(each)].amin(dim=1).max()) for each in combinations(range(12), budget))
    assert float(torch.cdist(rows, chosen).amin(dim=1).max()) <= 2 * least + 1e-5


def test_a_coreset_ends_where_nothing_new_is_left():
    rows = torch.tensor([[0.0], [1.0], [0.0], [1.0], [5.0]])
    assert sorted(coreset(rows, 5).flatten().tolist()) == [0, 1, 5]
    bank, found = _fitted(Maps(torch.zeros(3, 3, 4, 5), lambda z: z), neighbours=2)
    assert found["bank"] == 2
    assert bank.energy(torch.zeros(1, 3, 4, 5)).eq(0).all()


def test_a_coreset_covers_better_than_chance():
    learnt = _maps(30)
    _, greedy = _fitted(learnt, budget=50)
    _, drawn = _fitted(learnt, budget=50, sampling="random")
    assert greedy["radius"] < drawn["radius"]


def test_candidates_are_drawn_from_all_maps_whatever_is_held_at_a_time():
    """One location of one map is far from all others: with all candidates the bank has it."""
    learnt = _maps(2 * BATCH + 3)
    learnt.x[-1, :, 3, 4] = 1e6
    bank, _ = _fitted(learnt, budget=2)
    assert float(bank.energy(learnt.x[-1:])[0, 3, 4]) == 0


def test_without_validation_the_last_fifth_takes_its_place():
    learnt = _maps(20)
    bank = MemoryBank(**SHAPE, budget=4000, candidates=4000)
    assert bank.fit(learnt, Maps(learnt.x[:0], learnt.of), seed=0)["bank"] == 16 * 20
    assert not bank.energy(learnt.x[:16]).any()
    assert bank.energy(learnt.x[16:]).all()


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="neighbours ≤ budget ≤ candidates"):
        MemoryBank(**SHAPE, budget=100, candidates=50)
    with pytest.raises(NotFittedError, match="memory-bank: not fitted"):
        MemoryBank(**SHAPE).energy(torch.zeros(1, 3, 4, 5))
    with pytest.raises(TrainingError, match=r"memory-bank: 1 sample\(s\)"):
        _fitted(_maps(1))
    broken = _maps(4)
    broken.x[0, 0, 0, 0] = torch.nan
    with pytest.raises(TrainingError, match="memory-bank: a feature is not finite"):
        _fitted(broken)
    with pytest.raises(TrainingError, match="40 locations, fewer than 50 neighbours"):
        _fitted(_maps(2), neighbours=50)
