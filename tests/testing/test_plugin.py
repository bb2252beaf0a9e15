"""Packages that bring a method of their own: the example, and the one that the documentation shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import aberra

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


def _install(package, target):
    """What ``pip install --target`` leaves: the package, and beside it what its entry points are."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    sources = package / "src" if (package / "src").is_dir() else package
    for folder in (path for path in sources.iterdir() if (path / "__init__.py").is_file()):
        shutil.copytree(folder, target / folder.name)
    facts = target / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (facts / "entry_points.txt").write_text("\n".join(points))


def _written(page, folder):
    """Write the files that a page shows: its blocks whose first line is a comment with a path."""
    for text in re.findall(r"^```\w+\n(# [\w/.-]+\n.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        name = text.partition("\n")[0].removeprefix("# ")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for module in folder.rglob("*.py"):
        if module.parent != folder:
            (module.parent / "__init__.py").touch()


@pytest.fixture
def python(tmp_path):
    """Return a function that runs Python with what is installed in ``tmp_path / "installed"``."""
    target = tmp_path / "installed"
    ours = Path(aberra.__file__).parents[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (target, ours, ROOT / "docs" / "_ext"))),
        "COLUMNS": "200",
    }

    def run(*arguments):
        done = subprocess.run(  # noqa: PLW1510  (a test says more of it than CalledProcessError)
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def _conforms(python, test):
    strict = ("-p", "no:cacheprovider", "-W", "error", "--strict-markers", "-q")
    done = python("-m", "pytest", *strict, "--rootdir", test.parent, "-c", os.devnull, test)
    assert int(re.search(r"(\d+) passed", done)[1]) >= 13


def test_the_example_has_a_name_conforms_is_documented_and_fits(python, tmp_path):
    _install(ROOT / "examples" / "plugin", tmp_path / "installed")
    _conforms(python, ROOT / "examples" / "plugin" / "tests" / "test_funnel.py")
    assert "Funnel" in python("-m", "aberra", "methods", "funnel")
    shown = python("-c", "from generated import *; print(methods_page(), *components('models'), sep='\\n')")
    assert "## funnel" in shown
    assert ".. autoclass:: aberra_funnel.funnel.Funnel" in shown
    phantoms = ("--cases", "6", "--spacing", "6", "--contrast", "flair")
    python("-m", "aberra", "phantom", "scans", *phantoms)
    (manifest,) = (tmp_path / "scans").glob("*.csv")
    settings = ("--set", "training.steps=2", "--set", "prepare.size=32")
    python("-m", "aberra", "fit", "funnel", manifest, "--out", "model", *settings)
    assert (tmp_path / "model" / "detector.toml").is_file()


def test_the_package_that_the_page_shows_conforms(python, tmp_path):
    _written(ROOT / "docs" / "how-to" / "add-a-method.md", tmp_path / "shown")
    _install(tmp_path / "shown", tmp_path / "installed")
    _conforms(python, tmp_path / "shown" / "test_ceiling.py")
