from __future__ import annotations

from math import isnan

import pytest

from aberra.covariates import column_of, learnt, numbers_of, of_site, standardised
from aberra.errors import InputError


def test_numbers_text_and_words_mean_the_same():
    assert standardised("age", 25) == standardised("age", " 25.0 ") == -1
    assert standardised("sex", "F") == standardised("sex", "female") == -standardised("sex", "m")


@pytest.mark.parametrize("value", [None, "", "  "])
def test_what_is_unknown_is_nan(value):
    assert isnan(standardised("age", value))
    assert isnan(standardised("sex", value))


@pytest.mark.parametrize(("name", "value"), [("age", "old"), ("sex", "1"), ("sex", "x")])
def test_what_is_neither_is_refused(name, value):
    with pytest.raises(InputError, match=f"{name} '{value}': expected"):
        standardised(name, value)


def test_conditions_and_guides_say_what_is_learnt_from():
    assert learnt({"name": "ddpm"}) == ()
    assert learnt({"conditions": ["sex"], "guides": ["class", "age"]}) == ("age", "sex")
    found = numbers_of(("sex", "age"), {"age": "50"})
    assert isnan(found[0])
    assert found[1] == 0


def test_a_site_is_one_or_another_or_unknown():
    (name,) = of_site("Basel 1")
    assert column_of(name) == "site"
    known = [numbers_of((name,), {"site": site})[0] for site in ("Basel 1", "Basel 2", "")]
    assert known[:2] == [1, 0]
    assert isnan(known[2])
    assert learnt({"target": "Basel 1", "conditions": ["age"]}) == ("age", "site")
    assert learnt({"target": ""}) == of_site("") == ()
