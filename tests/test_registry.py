from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from aberra import registry
from aberra.registry import SECTIONS, lookup, names


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_class_is_known_by_the_name_it_says(kind):
    folder = Path(registry.__file__).parent / registry.FOLDERS.get(kind, kind)
    said = [
        name
        for path in folder.glob("*.py")
        for name in re.findall(r'^    name = "([^"]+)"$', path.read_text(), re.MULTILINE)
    ]
    assert len(said) == len(set(said)) > 1
    ours = {name: value for name, value in names(kind).items() if value.startswith("aberra.")}
    assert sorted(ours) == sorted(said)
    for name in ours:
        assert lookup(kind, name).name == name


def test_plugins_add_names_and_replace_none(monkeypatch):
    points = [
        EntryPoint("mine", "my_package:Mine", "aberra.models"),
        EntryPoint("vae", "my_package:VAE", "aberra.models"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "aberra.models" else [])
    found = names.__wrapped__("models")
    assert found["mine"] == "my_package:Mine"
    assert found["vae"] == "aberra.models.vae:VAE"
