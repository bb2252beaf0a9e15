"""Made-up results of a study, in the format of results.csv."""

from __future__ import annotations

import numpy as np

from aberra.benchmark.statistics import published
from aberra.method import Method

DIFFERENCES = ("residual",)
"""Scores of the study whose map is a difference of images."""

COHORTS = ("ms-like", "ms-like-shift")


def study(seeds=1):
    """Rows, replicates and histograms of the study's 17 methods and three baselines on two cohorts."""
    rng = np.random.default_rng(0)
    ap = published()["baur2021"]["AUPRC"]["D_MS"] | {"intensity": 0.5, "zmap": 0.2, "random": 0.005}
    methods = {label: Method.load(label) for label in ap}
    patients = rng.standard_normal(50)
    rows, replicates, histograms = [], {}, {}
    for cohort in COHORTS:
        for seed in range(seeds):
            for label, reported in ap.items():
                value = reported * (0.8 if cohort.endswith("shift") else 1.0) + 0.001 * seed
                common = {
                    "suite": "s", "task": "flair", "cohort": cohort, "method": label, "label": label, "seed": seed,
                    "family": methods[label].family, "baseline": int(methods[label].baseline),
                    "unit": "intensity" if methods[label].score["name"] in DIFFERENCES else "", "commit": "c1",
                    "subjects": 1.0, "cases": 12, "prevalence": 0.005, "parameters": 10**6, "training_seconds": 60.0,
                    "seconds_per_case": 0.5, "peak_mb": 500.0, "machine": "m", "date": "2026-01-01",
                }  # fmt: skip
                metrics = {
                    ("AP", ""): value, ("⌈Dice⌉", "oracle"): value + 0.05, ("Dice", "healthy-fpr-1"): value - 0.02,
                    ("Dice", "healthy-fpr-5"): 0.9, ("AUROC", ""): 0.9, ("l1-RE_N", ""): 0.05 + 0.1 * value,
                    ("l1-RE_A", ""): 0.1 + 0.3 * value, ("chi2", ""): value,
                }  # fmt: skip
                for (metric, protocol), number in metrics.items():
                    rows.append(
                        common
                        | {
                            "metric": metric,
                            "protocol": protocol,
                            "value": number,
                            "low": number - 0.05,
                            "high": number + 0.05,
                        }
                    )
                key = ("flair", cohort, label, seed)
                replicates[key] = value + 0.1 * patients + 0.002 * rng.standard_normal(50)
                histograms[key] = {
                    "edges": [0.0, 0.01, 0.02, 0.04, 0.08, 0.16],
                    "normal": [100.0, 50, 40, 20, 10, 1],
                    "anomalous": [1.0, 2, 4, 8, 8, 4],
                }
    return rows, replicates, histograms
