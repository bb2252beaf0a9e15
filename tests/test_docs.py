"""What README and documentation show is there: commands, options, methods, messages, pictures,
links.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pytest
import typer
from PIL import Image

from aberra.benchmark.suite import Suite
from aberra.cli import app
from aberra.cohort import Cohort
from aberra.detector import Detector
from aberra.method import Method, catalogue, parse_settings
from aberra.pretrained import shipped_detectors
from aberra.synthesis import write_cohort
from aberra.volume import Volume
from aberra.workflows.edit import Edit
from aberra.workflows.fit import _check_options

ROOT = Path(__file__).parents[1]
GENERATED = {"reference/methods.md", "reference/cli.md"}
"""Made by docs/_ext/generated.py at build time."""

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(
    path for path in (ROOT / "docs").rglob("*.md")
    if "_build" not in path.parts and str(path.relative_to(ROOT / "docs")) not in GENERATED
)]  # fmt: skip
PICTURES = sorted((ROOT / "docs" / "pictures").glob("*.png"))
BLOCK = re.compile(r"^( *)```(console|python)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"(?<!`)`(aberra [^`]+)`(?!`)")
ELLIPSIS = "..."
OTHERS = {"pip", "cp", "python"}
"""Programs that are not ours and may be named in a console block."""


class Command(NamedTuple):
    """A command and where it stands."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def _blocks(page, kind):
    return [found[3] for found in BLOCK.finditer(page.read_text(encoding="utf-8")) if found[2] == kind]


def _commands():
    """Every command after a `$` in a console block, chains taken apart."""
    for page in PAGES:
        for block in _blocks(page, "console"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.strip().startswith("$ "):
                    words = shlex.split(line.strip()[2:], comments=True)
                    while "&&" in words:
                        cut = words.index("&&")
                        yield Command(page.name, tuple(words[:cut]))
                        words = words[cut + 1 :]
                    yield Command(page.name, tuple(words))


def _mentions():
    """Every `aberra ...` in running text."""
    for page in PAGES:
        text = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for span in INLINE.findall(text):
            yield Command(page.name, tuple(span.split()))


@cache
def _group() -> click.Group:
    return typer.main.get_command(app)


def _subcommand(words):
    """The command that words name, and how many of them are its name."""
    assert words[1] in _group().commands, f"no such command; there are {sorted(_group().commands)}"
    found = _group().commands[words[1]]
    if not isinstance(found, click.Group) or len(words) < 3:
        return found, 2
    assert words[2] in found.commands, f"no such command; there are {sorted(found.commands)}"
    return found.commands[words[2]], 3


def _options(command):
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("command", list(dict.fromkeys(_commands())), ids=str)
def test_commands_of_console_blocks_can_be_given(command):
    words = list(command.words)
    if words[0].startswith("scripts/") or words[0] == "python":
        script = ROOT / (words[1] if words[0] == "python" else words[0])
        source = script.read_text(encoding="utf-8")
        for word in words:
            option = word.partition("=")[0]
            assert not option.startswith("--") or f'"{option}"' in source, f"{script.name} has no {option}"
        return
    if words[0] != "aberra":
        assert words[0] in OTHERS
        return
    subcommand, named = _subcommand(words)
    if ELLIPSIS in words:
        assert {word for word in words if word.startswith("--")} <= _options(subcommand)
        return
    parameters = subcommand.make_context(" ".join(words[:named]), words[named:]).params
    if words[1] == "benchmark" and not parameters["suite"].endswith(".toml"):
        assert Suite.load(parameters["suite"]).title
    method = parameters.get("method") if words[1] in {"fit", "calibrate"} else parameters.get("name")
    if method and words[1] in {"fit", "calibrate", "methods"} and not method.endswith(".toml"):
        _check_options(Method.load(method, parse_settings(parameters.get("settings") or [])))


@pytest.mark.parametrize("mention", list(dict.fromkeys(_mentions())), ids=str)
def test_commands_in_running_text_are_there(mention):
    if mention.words[1].startswith("-"):
        return
    options = {word.partition("=")[0] for word in mention.words if word.startswith("--")}
    assert options <= _options(_subcommand(mention.words)[0]) | {"--help"}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _blocks(page, "python")], ids=lambda page: page.name
)
def test_python_imports_what_is_there(page):
    for block in _blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "aberra":
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names)


def test_readme_fits_a_terminal_and_links_to_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 100
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_the_guide_names_methods_that_are_there():
    text = (ROOT / "docs" / "how-to" / "choose-a-method.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")][2:]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row[2])}
    assert len(rows) <= 20
    assert len(named) > 15
    assert named <= {*catalogue(), *shipped_detectors()}


@cache
def _messages():
    """Every text of the sources as constant parts in order, one entry a string."""
    texts = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append(
                    "\0".join(part.value if isinstance(part, ast.Constant) else "" for part in node.values)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


TROUBLES = re.findall(
    r"^``(.+)``\n: ",
    (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def test_there_are_troubles():
    assert len(TROUBLES) >= 15


@pytest.mark.parametrize("message", TROUBLES)
def test_messages_are_as_the_code_prints_them(message):
    parts = [re.escape(part) for part in message.split("…") if part]
    wanted = re.compile(".*".join(parts), re.DOTALL)
    assert any(wanted.search(text) for text in _messages())


def test_the_picture_of_the_report_has_the_numbers_of_its_page():
    text = (ROOT / "docs" / "how-to" / "read-a-report.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    badges = _pictures().BADGES
    assert numbers == list(badges)
    template = (ROOT / "src/aberra/report/templates/report.html.j2").read_text(encoding="utf-8")
    for selector in badges.values():
        for kind, name in re.findall(r"([.#])([a-z]+)", selector):
            attribute = "class" if kind == "." else "id"
            assert re.search(rf'{attribute}="[^"]*\b{name}\b', template), selector


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_pictures_are_small_and_shown(picture):
    assert picture.stat().st_size <= 300_000
    assert any(picture.name in page.read_text(encoding="utf-8") for page in PAGES)


@cache
def _pictures():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A phantom's result folder, scan and lesion mask."""
    folder = tmp_path_factory.mktemp("pictures")
    cohort = Cohort.read(
        write_cohort(folder / "cohort", cases=1, lesions=1.0, contrast="flair", spacing=8.0, seed=3)
    )
    scan = next(iter(cohort[0].channels.values()))
    detector = Detector.load("flair")
    result = detector.detect(cohort[0].read(), case="one", paths={"flair": str(scan)})
    result.save(folder / "one")
    return folder / "one", scan, cohort[0].lesion


def _drawn(path):
    """How much of a picture differs from its ground."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (np.abs(pixels - pixels[-1, -1]).sum(-1) > 60).mean()


def test_strips_show_scan_map_and_truth(case, tmp_path):
    folder, _, lesion = case
    _pictures().main(["strip", str(folder), "--out", str(tmp_path / "plain.png")])
    _pictures().main(["strip", str(folder), "--out", str(tmp_path / "truth.png"), "--lesion", str(lesion)])
    green = (np.asarray(Image.open(tmp_path / "truth.png").convert("RGB")).astype(int) @ [-1, 2, -1]) > 100
    assert green.any()
    assert 0.1 < _drawn(tmp_path / "plain.png") < 0.9


def test_edits_are_drawn_with_their_change(case, tmp_path):
    _, path, lesion = case
    scan = Volume.read(path)
    changed = scan.with_(data=scan.data * np.where(Volume.read(lesion).data > 0, 0.5, 1.0))
    edited = Edit(scan=changed, difference=changed.data - scan.data)
    edited.save(tmp_path / "edit")
    picture = tmp_path / "edit.png"
    _pictures().main(
        ["edit", str(tmp_path / "edit"), "--scan", str(path), "--out", str(picture), "--lesion", str(lesion)]
    )
    assert (np.asarray(Image.open(picture).convert("RGB")).astype(int) @ [-1, 2, -1] > 100).any()
    assert 0.1 < _drawn(picture) < 0.9


def test_p_values_are_drawn(case, tmp_path):
    _pictures().main(["p-value", str(case[0]), "--out", str(tmp_path / "p.png")])
    assert 0.005 < _drawn(tmp_path / "p.png") < 0.5
