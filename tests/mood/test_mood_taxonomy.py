from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from aberra.errors import ConfigError
from aberra.mood import CATEGORIES, FAMILIES, chosen, taxonomy
from aberra.mood.operations import FILLS
from aberra.mood.slabs import SLABS
from aberra.mood.taxonomy import REMEDY
from aberra.mood.warps import WARPS
from aberra.synthesis.profiles import profiles

EVERYTHING = tuple(REMEDY)


@pytest.mark.parametrize("subclass", taxonomy().values(), ids=lambda each: each.name)
def test_a_subclass_says_what_can_be_done(subclass):
    assert subclass.category in CATEGORIES
    assert subclass.family in FAMILIES
    assert subclass.scope in {"local", "global"}
    assert subclass.summary
    assert subclass.operation in {*FILLS, *SLABS, *WARPS, "disease", "seamless"}
    if subclass.operation == "disease":
        assert subclass.profile in profiles()
        assert subclass.needs == "labels"
        return
    assert 0 < subclass.radius_mm[0] < subclass.radius_mm[1]
    assert subclass.amount[0] <= subclass.amount[1]
    assert (subclass.shape == "") == (subclass.operation in SLABS)
    assert (subclass.shape == "mask") == (subclass.needs == "masks")
    assert (subclass.category == "images") == (subclass.needs == "images")


def test_families_share_no_subclass_and_no_way_to_make_one():
    by_family = {family: chosen(family, given=EVERYTHING)[0] for family in FAMILIES}
    names = Counter(each.name for family in FAMILIES for each in by_family[family])
    assert set(names) == set(taxonomy())
    assert set(names.values()) == {1}
    made = Counter()
    for family in FAMILIES:
        made.update(
            {
                (each.operation, each.shape, each.profile, max(each.signs) > 0, each.texture)
                for each in by_family[family]
            }
        )
    assert set(made.values()) == {1}


@pytest.mark.parametrize("family", ["train", "validation", "test"])
def test_every_family_has_every_category(family):
    assert {each.category for each in chosen(family, given=EVERYTHING)[0]} == set(CATEGORIES)


def test_what_is_not_given_is_left_out_and_said():
    found, left = chosen("test")
    assert all(not each.needs for each in found)
    assert [line.split(";")[0] for line in left] == [
        "left out: seamless",
        "left out: masked-mottled",
        "left out: haemorrhage, tumour, atrophy",
    ]
    assert chosen("test", given=EVERYTHING)[1] == []
    assert len(chosen("test", given=EVERYTHING)[0]) == len(found) + 5


def test_categories_and_subclasses_can_be_chosen():
    names = [each.name for each in chosen("test", only=["deformation", "shuffle"])[0]]
    assert names == ["shuffle", "bend", "twist"]


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["gorilla"], "unknown category or subclass"),
        (["images"], "needs --images"),
        (["sphere"], "family test has none of sphere"),
    ],
)
def test_nothing_to_make_is_an_error(only, message):
    with pytest.raises(ConfigError, match=message):
        chosen("test", only=only)
    with pytest.raises(ConfigError, match="unknown family"):
        chosen("golden")


def _row(subclass):
    """The subclass's row in the documentation."""
    low, high = subclass.radius_mm
    size = f"{low:g}–{high:g}" if high else "by the profile"
    sign = {(1,): "", (-1,): "−", (-1, 1): "±"}[tuple(subclass.signs)]
    least, most = subclass.amount
    amount = f"{sign}{least:g} to {sign}{most:g}" if least < most else ""
    return f"| {subclass.category} | `{subclass.name}` | {subclass.family} | {subclass.scope} | {subclass.summary} | {size} | {amount} | {subclass.needs} |"


def test_the_documentation_has_the_table():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "mood.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    head, _, *body = rows
    assert head == "| category | subclass | family | scope | what | radius, mm | amount | needs |"
    order = sorted(taxonomy().values(), key=lambda each: CATEGORIES.index(each.category))
    assert body == [_row(each) for each in order]
