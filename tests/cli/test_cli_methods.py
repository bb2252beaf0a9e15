from __future__ import annotations

import json

from typer.testing import CliRunner

from aberra.cli import app
from aberra.method import Method, catalogue


def _said(*arguments):
    done = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, ["methods", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_one_method_is_explained_with_what_it_cannot_pass():
    said = _said("constant")
    for check, reason in Method.load("constant").conformance["xfail"].items():
        assert f"{check}: {reason}" in said
    assert "cannot pass" not in _said("dae")


def test_the_list_has_every_method_and_json_has_all_there_is():
    said = _said()
    assert all(name in said for name in catalogue())
    (shown,) = json.loads(_said("constant", "--json"))
    assert shown.items() >= Method.load("constant").to_dict().items()
