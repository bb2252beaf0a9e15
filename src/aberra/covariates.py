"""What is known of a person beside the scan, as numbers that networks take."""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING, Any, Literal, get_args

from aberra.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Covariate = Literal["age", "sex"]
COVARIATES: tuple[Covariate, ...] = get_args(Covariate)
"""Columns of a manifest that a model can learn from beside the scan."""

MIDDLE, SPREAD = 50.0, 25.0
"""Years that are 0, and years for one unit of an age."""

SEXES = {"f": 1.0, "female": 1.0, "m": -1.0, "male": -1.0}


def standardised(name: str, value: Any) -> float:
    """A covariate as a number of about unit size; NaN where it is unknown (None or empty).

    Args:
        name: of :data:`COVARIATES`.
        value: years of ``age``, ``f`` or ``m`` (or in words) of ``sex``; number or text.

    Raises:
        InputError: neither a value nor unknown.

    Examples:
        >>> from aberra.covariates import standardised
        >>> standardised("age", "75"), standardised("sex", "f"), standardised("sex", "")
        (1.0, 1.0, nan)
    """
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return nan
    if name == "sex":
        if text not in SEXES:
            raise InputError(f"sex '{value}': expected f or m, or nothing where it is not known")
        return SEXES[text]
    try:
        return (float(text) - MIDDLE) / SPREAD
    except ValueError as error:
        raise InputError(f"{name} '{value}': expected years, as in 61.5, or nothing") from error


def learnt(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns that the model of a method learns from: its ``conditions`` and those of its
    ``guides`` that are columns.
    """
    named = (*model.get("conditions", ()), *model.get("guides", ()))
    return tuple(name for name in COVARIATES if name in named)


def numbers_of(names: Iterable[str], known: Mapping[str, Any]) -> tuple[float, ...]:
    """Each of the covariates ``names``, :func:`standardised`."""
    return tuple(standardised(name, known.get(name)) for name in names)
