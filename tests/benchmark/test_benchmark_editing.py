"""A cohort of a suite that an editor paints."""

from __future__ import annotations

import pytest

from aberra.benchmark.cohorts import materialise, task_cohorts
from aberra.benchmark.runner import _Data
from aberra.benchmark.suite import Suite
from aberra.cohort import Case, Cohort
from aberra.errors import ConfigError

EDITED = """
budget = { steps = 2 }
[settings]
"prepare.size" = 16
"model.network.width" = 8
"model.network.multipliers" = [1, 2]
"model.guide_width" = 8
"training.batch_size" = 2
[cohorts.sick]
phantom = { cases = 3, lesions = 0.67, contrast = "flair", spacing = 12.0, seed = 1, workers = 1, radius_mm = [20.0, 30.0] }
[cohorts.val]
phantom = { cases = 2, lesions = 0.5, contrast = "flair", spacing = 12.0, seed = 2, workers = 1, radius_mm = [20.0, 30.0] }
[cohorts.healthy]
phantom = { cases = 2, contrast = "flair", spacing = 12.0, seed = 3, workers = 1 }
[cohorts.drawn.edit]
cohort = "healthy"
draw = 1
radius_mm = [20.0, 30.0]
steps = 1
[cohorts.drawn.edit.editor]
name = "ddim-guided"
train = "sick"
validation = "val"
settings = { "model.guides" = ["class", "mask"] }
[tasks.t]
train = "drawn"
validation = "val"
test = ["sick"]
"""


def _suite(tmp_path, text=EDITED):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return Suite.load(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of made cohorts: what a suite of the same settings has made is kept."""
    return tmp_path_factory.mktemp("cohorts")


def test_an_edited_cohort_has_the_drawn_lesions_and_the_same_people(tmp_path, folder):
    suite = _suite(tmp_path)
    edited = materialise(suite, "drawn", folder, None, device="cpu", progress=False)
    healthy = materialise(suite, "healthy", folder, None, progress=False)
    assert [case.patient for case in edited] == [case.patient for case in healthy]
    assert all(case.read().lesion.any() for case in edited)
    assert all(case.healthy for case in healthy)
    learn, _ = task_cohorts(suite, suite.tasks[0], folder, None, device="cpu", progress=False)
    assert sum(case.split == "train" for case in learn) == len(edited)
    assert len(list(folder.glob("editor-*/detector.toml"))) == 1  # not fitted again


def test_who_is_edited_may_not_be_tested(tmp_path, folder):
    suite = _suite(tmp_path, EDITED.replace('test = ["sick"]', 'test = ["healthy"]'))
    with pytest.raises(ConfigError, match="in 'healthy', too"):
        task_cohorts(suite, suite.tasks[0], folder, None, device="cpu", progress=False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("draw = 1\n", "", "needs draw"),
        (
            'train = "sick"\nvalidation = "val"\nsettings',
            'train = "sik"\nvalidation = "val"\nsettings',
            "'sik'",
        ),
        ('cohort = "healthy"\n', 'cohort = "helthy"\n', "Did you mean 'healthy'"),
    ],
)
def test_a_broken_edit_is_refused_with_the_reason(tmp_path, old, new, message):
    assert old in EDITED
    with pytest.raises(ConfigError, match=message):
        _suite(tmp_path, EDITED.replace(old, new))


def test_what_is_known_of_people_is_part_of_a_cell_whose_model_is_told_it():
    first, second = (
        _Data(Cohort([Case(case="a", patient="a", channels={}, groups={"age": age})]), "same")
        for age in ("30", "40")
    )
    assert first.known(()) == second.known(()) == "same"
    assert first.known(("age",)) != second.known(("age",))
    assert first.known(("sex",)) == second.known(("sex",))
