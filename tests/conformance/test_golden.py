"""A number a method: its map's mean after a few steps, so that a change of padding, initialisation
or sampling is seen.

``scripts/golden [NAME ...]`` writes ``golden.json`` anew, all of it or the methods named; look at
the differences before you commit them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from aberra.files import config_hash
from aberra.method import Method, catalogue
from aberra.testing.suite import subject_of

FILE = Path(__file__).with_name("golden.json")
SHARE = 0.15
"""Processors round differently, and a few steps carry it on: by up to 2 %, of a GAN by 11 %, between
one with AVX-512 and one without. A change of code that matters is larger."""


def _mean(name):
    analysis = subject_of(name).analysis_after_few
    return float(analysis.map[analysis.inside].mean(dtype=float))


def _grouped(names):
    groups = ((name, config_hash(Method.load(name).at_test_size().learnt)) for name in names)
    return [pytest.param(name, marks=pytest.mark.xdist_group(learnt)) for name, learnt in groups]


@pytest.mark.parametrize("name", _grouped(catalogue()))
def test_the_maps_mean_is_what_it_was(name):
    golden = json.loads(FILE.read_text())
    assert name in golden, f"scripts/golden {name}"
    assert _mean(name) == pytest.approx(golden[name], rel=SHARE)


def test_no_number_is_left_of_a_method_that_is_gone():
    assert json.loads(FILE.read_text()).keys() == catalogue().keys()


def write(names):
    """Write the numbers of some methods, or of all, and say which changed."""
    known = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for name in names or catalogue():
        value = float(f"{_mean(name):.6g}")
        print(f"{name}: {known.get(name)} -> {value}", flush=True)  # noqa: T201
        known[name] = value
        kept = {each: known[each] for each in sorted(known) if each in catalogue()}
        FILE.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    write(sys.argv[1:])
