"""The examples of docstrings give what they show, and every class that the reference documents by
name has one.
"""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

import aberra

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src"
MODULES = [
    ".".join(path.relative_to(SOURCES).with_suffix("").parts)
    for path in sorted((SOURCES / "aberra").rglob("*.py"))
    if path.name != "__init__.py" and ">>> " in path.read_text(encoding="utf-8")
]
DOCUMENTED = sorted(
    name
    for page in (ROOT / "docs" / "reference").glob("*.md")
    for name in re.findall(r"autoclass:: (\S+)", page.read_text(encoding="utf-8"))
)
WITHOUT = {
    "aberra.densities.map_density.MapDensity": "what the densities of maps share; each has an example",
    "aberra.exchange.export.Exported": "what export returns",
    "aberra.mood.scorer.Scores": "what score returns",
    "aberra.nets.diffusion_unet.DiffusionEncoder": "a part of models, which no user builds",
    "aberra.nets.sphere.Centres": "a part of models, which no user builds",
    "aberra.nets.sphere.SphereHead": "a part of models, which no user builds",
    "aberra.nets.diffusion_unet.DiffusionUNet": "a part of models, which no user builds",
    "aberra.synthesis.atrophy.Shrunken": "what shrink returns",
    "aberra.synthesis.planted.Planted": "needs samples to plant into",
    "aberra.synthesis.scans.MappedScan": "needs a scan and its tissue map",
}
"""Documented classes without an example, and why."""


def _class(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", MODULES)
def test_examples_give_what_they_show(module):
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    report: list[str] = []
    for test in finder.find(importlib.import_module(module), module):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).attempted
    assert not runner.failures, "".join(report)


@pytest.mark.parametrize("dotted", DOCUMENTED)
def test_a_documented_class_has_an_example(dotted):
    assert (">>> " in _class(dotted).__doc__) != (dotted in WITHOUT)


@pytest.mark.parametrize("name", [name for name in aberra.__all__ if name[0].isupper()])
def test_the_public_face_has_examples(name):
    assert ">>> " in getattr(aberra, name).__doc__
