from __future__ import annotations

import numpy as np
import pytest
from study_rows import study

from aberra.benchmark.statistics import (
    correlations,
    data_sets,
    indistinct,
    over_seeds,
    paired_bootstrap,
    published,
)


def test_paired_bootstrap_sees_small_differences_that_all_patients_share():
    rng = np.random.default_rng(0)
    patients = rng.normal(0, 1, 999)
    assert paired_bootstrap(patients + 0.05 + 0.01 * rng.standard_normal(999), patients, patients=40) < 1e-4
    assert paired_bootstrap(patients, patients, patients=40) == 1
    assert paired_bootstrap(rng.normal(0, 1, 999), rng.normal(0, 1, 999), patients=40) > 0.5


def test_paired_bootstrap_is_two_sided_and_leaves_undefined_pairs_out():
    a, b = np.array([0.1, 0.2, np.nan, 0.4, 0.5]), np.array([0.2, 0.25, 0.1, np.nan, 0.4])
    assert paired_bootstrap(a, b, patients=40) == paired_bootstrap(b, a, patients=40)
    defined = np.isfinite(a - b)
    assert paired_bootstrap(a, b, patients=40) == paired_bootstrap(a[defined], b[defined], patients=40)
    assert paired_bootstrap(np.full(5, np.nan), np.ones(5), patients=40) == 1


@pytest.mark.parametrize("patients", [9, 40])
def test_paired_bootstrap_has_the_level_it_claims(patients):
    """Means of patients resampled: a true null is rejected in 5 % of the trials, and rarely at
    Holm's first step of 33.
    """
    rng = np.random.default_rng(0)
    p = []
    for _ in range(1000):
        one, two = rng.normal(0, 1, (2, patients))
        draws = rng.integers(patients, size=(200, patients))
        p.append(paired_bootstrap(one[draws].mean(axis=1), two[draws].mean(axis=1), patients=patients))
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.08
    assert np.mean(np.array(p) < 0.05 / 33) < 0.01


def test_rows_tied_with_the_best_are_found_after_holm():
    rng = np.random.default_rng(0)
    patients = rng.normal(0.5, 0.1, 500)
    values = {"best": 0.5, "same": 0.49, "worse": 0.3}
    replicates = {
        "best": patients,
        "same": patients - 0.01 + 0.05 * rng.standard_normal(500),
        "worse": patients - 0.2 + 0.01 * rng.standard_normal(500),
    }
    assert indistinct(values, replicates, patients=40) == {"best", "same"}
    assert indistinct(values, {}, patients=40) == {"best"}
    assert indistinct({}, {}, patients=40) == set()
    # a difference that is significant alone is not among a hundred others
    edge = {f"m{n}": patients - 0.03 + 0.012 * rng.standard_normal(500) for n in range(100)}
    assert paired_bootstrap(patients, edge["m0"], patients=40) < 0.05
    assert "m0" in indistinct(
        {"best": 0.5} | dict.fromkeys(edge, 0.47), {"best": patients} | edge, patients=40
    )


def test_seeds_are_averaged_replicate_by_replicate():
    _, replicates, _ = study(seeds=2)
    merged = over_seeds(replicates, "flair", "ms-like")
    first, second = (replicates["flair", "ms-like", "vae", seed] for seed in (0, 1))
    np.testing.assert_allclose(merged["vae"], (first + second) / 2)
    assert len(merged) == 20


def test_correlations_are_pearsons_across_methods():
    rows, _, _ = study()
    names, matrix = correlations(
        [row for row in rows if row["cohort"] == "ms-like"], ["AP", "l1-RE_A", "AUROC"]
    )
    assert names == ["AP", "l1-RE_A"]  # AUROC does not vary
    np.testing.assert_allclose(matrix, 1.0)


def test_published_tables_are_the_studys():
    auprc = published()["baur2021"]["AUPRC"]
    assert set(auprc) == {"D_MS", "D_GB", "MSLUB", "MSSEG2015"}
    assert all(len(table) == 17 for table in auprc.values())
    means = {name: np.mean([table[name] for table in auprc.values()]) for name in auprc["D_MS"]}
    # the means that the specification derives from the printed table
    assert round(means["vae-restoration"], 3) == 0.343
    assert round(means["gmvae-restoration"], 3) == pytest.approx(0.336, abs=1e-3)
    assert round(means["fanogan"], 3) == 0.318
    assert max(means, key=means.get) == "vae-restoration"


def test_the_thesis_hierarchies_detect_by_depth_and_restore_by_shallowness():
    tables = data_sets()["HCP, objects"]
    assert min(tables["MSE"], key=tables["MSE"].get) == "low-vae"
    for metric in ("slice AUROC", "slice AP"):
        order = sorted(tables[metric], key=tables[metric].get)
        assert order == [f"{name}, ELBO" for name in ("chvae", "vqvae2", "low-vae", "high-vae", "pchvae")]
