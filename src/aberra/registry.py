"""Names to code: models, networks, densities, scores, restorations and preparation steps, built-in
or from plugins.

A component is a class whose keyword arguments *are* its configuration: ``build("scores", {"name":
"gradient", "of": "kl"})``. A class in ``aberra/models``, ``nets``, ``densities``, ``scores``,
``restore`` or ``prepare`` is known by saying its ``name``; plugins register through the entry-point
groups ``aberra.models``, ``aberra.networks``, ``aberra.densities``, ``aberra.scores``,
``aberra.restore`` and ``aberra.prepare``.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from math import inf, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aberra.errors import ConfigError, expect_known
from aberra.memory import refuse_too_much
from aberra.options import accepted, checked, complete, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kind = Literal["models", "networks", "densities", "scores", "restore", "prepare"]
SECTIONS: dict[Kind, str] = {
    "models": "model",
    "networks": "model.network",
    "densities": "model.density",
    "scores": "score",
    "restore": "score.restore",
    "prepare": "prepare",
}
"""Where a method file has them."""

FOLDERS = {"networks": "nets"}
"""Where the classes of a kind are that is not called like its folder."""

GIVEN = ("channels", "dims", "size", "features")
"""Arguments of models and networks that the cohort and ``[prepare]`` decide, and of densities, that
the encoder does.
"""


@cache
def names(kind: Kind) -> dict[str, str]:
    """Name to ``module:Class`` of every component of one kind, plugins included; a plugin's name
    never replaces one of ours.
    """
    found = _built_in(kind)
    for point in entry_points(group=f"aberra.{kind}"):
        found.setdefault(point.name, point.value)
    return found


def _built_in(kind: Kind) -> dict[str, str]:
    """The classes in a kind's folder that say ``name = "..."``, read from their source: importing
    them all would import torch.
    """
    found = {}
    for path in sorted((Path(__file__).parent / FOLDERS.get(kind, kind)).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            for statement in node.body:
                match statement:
                    case ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(name))):
                        found[name] = f"aberra.{FOLDERS.get(kind, kind)}.{path.stem}:{node.name}"
    return found


def lookup(kind: Kind, name: str, section: str = "") -> type[Any]:
    """Return the class behind a name.

    Args:
        kind: which family.
        name: as in a method file.
        section: of the method file that names it, where that is not the kind's own.

    Raises:
        ConfigError: the name is not known; the message has the nearest one.
    """
    known = names(kind)
    expect_known(section or SECTIONS[kind], [name], known)
    module, _, attribute = known[name].partition(":")
    cls: type[Any] = getattr(import_module(module), attribute)
    return cls


def build(kind: Kind, config: Mapping[str, Any], **given: Any) -> Any:
    """Build a component from its configuration.

    Args:
        kind: which family.
        config: ``name`` and the constructor's keyword arguments.
        given: further arguments that the caller decides (channels, size, ...), used where the
            constructor takes them and the configuration does not say.

    Raises:
        ConfigError: unknown name, unknown key (nearest valid one named) or a value the class
            refuses.
    """
    cls, options = named(kind, config)
    taken = accepted(cls)
    arguments = {key: value for key, value in given.items() if key in taken} | options
    complete(cls, arguments, f"{SECTIONS[kind]} {config['name']}")
    if kind == "models":
        _weigh(cls, arguments)
    return cls(**arguments)


def _weigh(model: type[Any], arguments: Mapping[str, Any]) -> None:
    """Refuse a network that this machine cannot hold, before it takes the memory.

    Raises:
        ConfigError: says how much it would take.
    """
    import torch

    try:
        with torch.device("meta"):  # shapes only
            planned = model(**arguments)
            needed = float(sum(tensor.nbytes for tensor in (*planned.parameters(), *planned.buffers())))
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        if "overflow" not in str(error):
            return  # a plugin that cannot be planned so, or a bug that building shows
        needed = inf
    needed += 4.0 * arguments.get("channels", 1) * prod(arguments.get("size", ()))
    refuse_too_much(
        needed, f"{model.__name__}: weights and input", "lower width, latent, depth or prepare.size"
    )


def named(kind: Kind, config: Mapping[str, Any], section: str = "") -> tuple[type[Any], dict[str, Any]]:
    """The class that a configuration names, and its options, checked one by one but not built;
    tables among them are checked, too.

    Args:
        kind: which family.
        config: ``name`` and options.
        section: of the method file that it is, where that is not the kind's own.

    Raises:
        ConfigError: no name, an unknown one, an unknown key (nearest valid one named) or a value of
            the wrong type or out of range.
    """
    options, section = dict(config), section or SECTIONS[kind]
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"[{section}] needs a 'name' of text; got {shown(dict(config))}")
    cls = lookup(kind, name, section)
    where = name if kind == "prepare" else section
    title = f"{section.rpartition('.')[2]} {name}" if section.startswith("model.") else name
    options = checked(cls, options, where, title=title, given=GIVEN)
    for option, (inner, _) in _tables(cls).items():
        named(inner, table_of(cls, option, options.get(option)), f"{section}.{option}")
    return cls, options


def _tables(cls: type[Any]) -> dict[str, tuple[Kind, dict[str, Any]]]:
    """Options of a class that are components themselves: their kind, and what they are by default.

    A class says them in ``TABLES``, and its network in ``NETWORK``.
    """
    network: dict[str, tuple[Kind, dict[str, Any]]] = (
        {"network": ("networks", cls.NETWORK)} if hasattr(cls, "NETWORK") else {}
    )
    return network | getattr(cls, "TABLES", {})


def table_of(cls: type[Any], option: str, choice: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """The table of an option that is a component itself: the class's own one with changes, or the
    one of another name.

    Args:
        cls: says in ``TABLES`` or ``NETWORK`` what it has by default.
        option: which.
        choice: name, or options with or without one; None changes nothing.
    """
    table = {"name": choice} if isinstance(choice, str) else dict(choice or {})
    _, own = _tables(cls)[option]
    return (own if table.get("name", own["name"]) == own["name"] else {}) | table


def fitting_table(
    model: type[Any],
    option: str,
    choice: str | Mapping[str, Any] | None,
    fits: Callable[[type[Any]], bool],
    *,
    expected: str,
    hint: str = "",
) -> dict[str, Any]:
    """As :func:`table_of`, of a model's component that must be of some sort.

    Args:
        model: as there.
        option: as there.
        choice: as there.
        fits: whether a class can be the component.
        expected: what can, in words.
        hint: for who wanted another.

    Raises:
        ConfigError: another one; the message names those that fit.
    """
    kind, _ = _tables(model)[option]
    table = table_of(model, option, choice)
    if not fits(lookup(kind, table["name"])):
        able = [name for name in sorted(names(kind)) if fits(lookup(kind, name))]
        raise ConfigError(f"model.{option}={table['name']}: expected {expected}: {', '.join(able)}{hint}")
    return table


def network_of(model: type[Any], choice: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """The table of a model's network, see :func:`table_of`."""
    return table_of(model, "network", choice)
