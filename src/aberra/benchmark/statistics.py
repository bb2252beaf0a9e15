"""Are two rows of a table different, and is our order that of the publications?"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from aberra.metrics.paired import holm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

ALPHA = 0.05


def paired_bootstrap(a: NDArray[np.float64], b: NDArray[np.float64], *, patients: int) -> float:
    """Two-sided p-value of a − b ≠ 0 from paired replicates: Student's t, with the replicates'
    spread as standard error.

    With n patients the spread of a bootstrap is √((n − 1)/n) of the standard error, and n − 1
    degrees of freedom are left; a normal distribution would call up to nine times too many
    differences among a dozen patients (measured). Counting replicates on either side of 0 instead
    would need more than 2 m / α of them for m methods under Holm, or nothing could ever be told
    apart.

    Args:
        a: replicates of one method.
        b: of another, with the same patients' weights.
        patients: n, those that the metric depends on (with lesions).

    Returns:
        The p-value; pairs with NaN (a replicate without positives) are left out, 1 where fewer than
        two pairs or patients are left.
    """
    from scipy.stats import t

    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    difference = difference[np.isfinite(difference)]
    if difference.size < 2 or patients < 2 or not difference.any():
        return 1.0
    spread = float(difference.std(ddof=1)) * np.sqrt(patients / (patients - 1))
    return float(2 * t.sf(abs(difference.mean()) / spread, patients - 1)) if spread else 0.0


def indistinct(
    values: Mapping[str, float],
    replicates: Mapping[str, NDArray[np.float64]],
    *,
    patients: int,
    alpha: float = ALPHA,
) -> set[str]:
    """Names that a paired bootstrap against the best (Holm over the others) does not find worse;
    the best is one of them.

    Args:
        values: name to value, higher is better.
        replicates: name to replicates, paired; names without are taken for distinct.
        patients: with lesions, see :func:`paired_bootstrap`.
        alpha: family-wise error.
    """
    if not values:
        return set()
    best = max(values, key=lambda name: values[name])
    if best not in replicates:
        return {best}
    raw = {
        name: paired_bootstrap(replicates[best], replicates[name], patients=patients)
        for name in values
        if name != best and name in replicates
    }
    return {best} | {name for name, p in holm(raw).items() if p > alpha}


def over_seeds(
    replicates: Mapping[tuple[str, str, str, int], NDArray[np.float64]], task: str, cohort: str
) -> dict[str, NDArray[np.float64]]:
    """Replicates of a cohort by label, averaged over seeds: the same patients' weights, another
    training.
    """
    found: dict[str, list[NDArray[np.float64]]] = {}
    for (of_task, of_cohort, label, _), values in replicates.items():
        if (of_task, of_cohort) == (task, cohort):
            found.setdefault(label, []).append(values)
    return {label: np.mean(values, axis=0) for label, values in found.items()}


def correlations(
    rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> tuple[list[str], NDArray[np.float64]]:
    """Pearson correlation between metrics across the methods of one cohort: the metrics that vary,
    and the matrix.
    """
    table: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["metric"] in metrics and row["value"] is not None:
            table.setdefault(row["label"], {})[row["metric"]] = float(row["value"])
    complete = [values for values in table.values() if all(metric in values for metric in metrics)]
    columns = {metric: np.array([values[metric] for values in complete]) for metric in metrics}
    varied = [metric for metric, values in columns.items() if len(values) > 2 and np.ptp(values) > 0]
    if len(varied) < 2:
        return [], np.zeros((0, 0))
    return varied, np.corrcoef([columns[metric] for metric in varied])


@cache
def published() -> dict[str, Any]:
    """Results of the publications: study to ``source`` and metric to data set to catalogue name to
    value.
    """
    text = (files("aberra.benchmark") / "published.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def data_sets() -> dict[str, dict[str, dict[str, float]]]:
    """What the publications report, by data set: metric to catalogue name or label to value."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for study in published().values():
        for metric, sets in study.items():
            for data_set, values in sets.items() if metric != "source" else ():
                tables.setdefault(data_set, {})[metric] = values
    return tables
