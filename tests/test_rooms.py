"""A room, a file or folder of ``aberra``, imports only rooms before it, and no file imports in
circles.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import aberra

ROOMS = """
    __init__ errors extras versions pretrained console foreground options memory files output failures
    devices jobs kinds grades covariates batch capabilities registry former method measured volume io cohort nets prepare
    diffusion densities models compare restore scores training metrics
    result detector dicom_out synthesis sequence report audit reader exchange workflows arrays
    mood node
    testing benchmark server cli __main__
""".split()  # noqa: SIM905

UP = {
    ("aberra.volume", "aberra.io"): {"read", "write"},
    ("aberra.volume", "aberra.report.notebook"): {"_repr_html_"},
    ("aberra.result", "aberra.report.notebook"): {"_repr_html_"},
    ("aberra.detector.detector", "aberra.detector.folder"): {"load", "save"},
    ("aberra.detector.detector", "aberra.workflows.fit"): {"fit"},
    ("aberra.detector.detector", "aberra.workflows.calibrate"): {"calibrate"},
}
"""Conveniences of the public classes, which import upwards when they are called: from, to, and
the methods."""

SOURCE = Path(aberra.__file__).parent
FILES = {
    ".".join(("aberra", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}


def _imports(node, function=""):
    """Every import below a node, and the function it is in; what only type checkers see is left
    out.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom):
            assert not child.level, "relative imports are not followed"
            yield from ((f"{child.module}.{each.name}", function) for each in child.names)
        if isinstance(child, ast.Import):
            yield from ((each.name, function) for each in child.names)
        yield from _imports(child, child.name if isinstance(child, ast.FunctionDef) else function)


def _arrows():
    """From, to and function of every import of one file of aberra by another."""
    for here, path in FILES.items():
        for name, function in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            there = name if name in FILES else name.rpartition(".")[0]
            if there in FILES and there != here:
                yield here, there, function


ARROWS = sorted(_arrows())
DOWN = [(here, there) for here, there, function in ARROWS if function not in UP.get((here, there), ())]


def _room(module):
    return [*module.split("."), "__init__"][1]


def test_every_room_is_listed_once():
    assert sorted(ROOMS) == sorted({_room(module) for module in FILES})


def test_a_room_imports_only_rooms_before_it():
    place = ROOMS.index
    assert not [(a, b) for a, b in DOWN if place(_room(a)) < place(_room(b))]


def test_no_file_imports_in_a_circle():
    graph = {module: {there for here, there in DOWN if here == module} for module in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


def test_only_whole_commands_use_workflows():
    users = {_room(here) for here, there in DOWN if _room(there) == "workflows"}
    assert users == {"workflows", "node", "benchmark", "server", "cli"}


def test_conveniences_that_import_upwards_are_those_that_are_listed():
    upwards = {(here, there, function) for here, there, function in ARROWS if (here, there) in UP}
    assert upwards == {(*arrow, function) for arrow, functions in UP.items() for function in functions}
