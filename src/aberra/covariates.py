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

SITE = "site"
"""Column of the scanner or centre; a model learns whether it is one of them (:func:`of_site`)."""

SEXES = {"f": 1.0, "female": 1.0, "m": -1.0, "male": -1.0}


def standardised(name: str, value: Any) -> float:
    """A covariate as a number of about unit size; NaN where it is unknown (None or empty).

    Args:
        name: of :data:`COVARIATES`, or ``column=value`` (:func:`of_site`): 1 where the column has
            this value, 0 where it has another.
        value: years of ``age``, ``f`` or ``m`` (or in words) of ``sex``; number or text.

    Raises:
        InputError: neither a value nor unknown.

    Examples:
        >>> from aberra.covariates import standardised
        >>> standardised("age", "75"), standardised("sex", "f"), standardised("sex", "")
        (1.0, 1.0, nan)
        >>> standardised("site=north", "north"), standardised("site=north", "south")
        (1.0, 0.0)
    """
    text = "" if value is None else str(value).strip()
    if not text:
        return nan
    _, asked, wanted = name.partition("=")
    if asked:
        return float(text == wanted)
    text = text.lower()
    if name == "sex":
        if text not in SEXES:
            raise InputError(f"sex '{value}': expected f or m, or nothing where it is not known")
        return SEXES[text]
    try:
        return (float(text) - MIDDLE) / SPREAD
    except ValueError as error:
        raise InputError(f"{name} '{value}': expected years, as in 61.5, or nothing") from error


def learnt(model: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns that the model of a method learns from: its ``conditions``, those of its ``guides``
    that are columns, and the site where it has a ``target``.
    """
    named = (*model.get("conditions", ()), *model.get("guides", ()))
    sites = (SITE,) if model.get("target") else ()
    return (*(name for name in COVARIATES if name in named), *sites)


def of_site(target: str) -> tuple[str, ...]:
    """The covariate that is 1 for people of a site and 0 for others; none without a site.

    Examples:
        >>> from aberra.covariates import of_site
        >>> of_site("north"), of_site("")
        (('site=north',), ())
    """
    return (f"{SITE}={target}",) if target else ()


def column_of(name: str) -> str:
    """The manifest's column that a covariate is told from."""
    return name.partition("=")[0]


def numbers_of(names: Iterable[str], known: Mapping[str, Any]) -> tuple[float, ...]:
    """Each of the covariates ``names``, :func:`standardised`."""
    return tuple(standardised(name, known.get(column_of(name))) for name in names)
