"""Is one method better than another on the same patients?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXACT = 14
"""Up to so many patients every sign pattern is tried; beyond, signs are drawn."""


def sign_flip_test(differences: Sequence[float], *, draws: int = 10_000, seed: int = 0) -> float:
    """Two-sided permutation test of paired differences: under the null each sign is as likely as
    the other.

    Returns:
        p-value; 1.0 without differences.
    """
    values = np.asarray(differences, dtype=float)
    values = values[np.isfinite(values)]
    if not values.size or not values.any():
        return 1.0
    observed = abs(values.sum())
    if values.size <= EXACT:
        patterns = (np.arange(2**values.size)[:, None] >> np.arange(values.size)) & 1
        sums = np.abs((2 * patterns - 1) @ values)
        return float((sums >= observed - 1e-12).mean())
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, values.size))
    return float((1 + (np.abs(signs @ values) >= observed - 1e-12).sum()) / (draws + 1))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm-adjusted p-values (Holm 1979), never below the ones before."""
    adjusted, highest = {}, 0.0
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for position, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - position) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def compare(
    per_patient: Mapping[str, Mapping[str, float]], reference: str, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare every method with a reference on the patients both have.

    Args:
        per_patient: method to patient to metric.
        reference: name of the method to compare with.
        seed: of the permutation test.

    Returns:
        For each other method the mean difference (method − reference), its p-value, the
        Holm-adjusted one and n.
    """
    base = per_patient[reference]
    rows, raw = [], {}
    for name, values in per_patient.items():
        if name == reference:
            continue
        differences = [value - base[patient] for patient, value in values.items() if patient in base]
        raw[name] = sign_flip_test(differences, seed=seed)
        mean = float(np.mean(differences)) if differences else None
        told = {"method": name, "reference": reference, "difference": mean, "p": raw[name]}
        rows.append(told | {"n": len(differences)})
    adjusted = holm(raw)
    return [row | {"p_holm": adjusted[str(row["method"])]} for row in rows]
