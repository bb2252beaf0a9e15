"""Made from the code at build time: the pages of the command line and the catalogue, and the lists
of components.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from aberra.measured import in_words, measured
from aberra.method import Method, catalogue
from aberra.registry import lookup, names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aberra.registry import Kind

MARK = "<!-- made by docs/_ext/generated.py; do not edit -->\n\n"


def methods_page() -> str:
    """One section a catalogue entry."""
    parts = [
        "# Methods\n\nThe catalogue: one TOML file each in `src/aberra/catalogue/`. Copy one, change it, and pass its path to `aberra fit`.\n"
    ]
    for name in catalogue():
        method = Method.load(name)
        parts.append(f"## {name}\n\n**{method.title}.** {method.summary}\n")
        facts = [
            ("Learns from", method.learns_from),
            ("Family", method.family),
            ("Model", f"`{method.model['name']}`"),
            ("Score", f"`{method.question}`"),
            ("Reference", method.reference),
            ("Cost", method.cost),
            ("When", method.when),
            ("Known failure", method.failure),
            *(("Measured", in_words(row)) for row in measured(name)),
            *(("Deviation", each) for each in method.deviations),
            *(
                ("Cannot pass", f"`{check}`: {reason}")
                for check, reason in method.conformance.get("xfail", {}).items()
            ),
        ]
        parts.append("\n".join(f"- **{key}**: {value}" for key, value in facts if value) + "\n")
    return MARK + "\n".join(parts)


def cli_page() -> str:
    """The help of every command."""
    import typer
    from typer.testing import CliRunner

    from aberra.cli import app

    runner = CliRunner(env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"})
    group = typer.main.get_command(app)
    parts = ["# Command line\n"]
    for words in [[], *_commands(group)]:
        shown = runner.invoke(app, [*words, "--help"], prog_name="aberra").output.strip()
        parts.append(f"## {' '.join(['aberra', *words])}\n\n```text\n{shown}\n```\n")
    return MARK + "\n".join(parts)


def _commands(group: Any) -> Iterator[list[str]]:
    """The words of every command, those of groups behind their group."""
    for name, command in group.commands.items():
        yield [name]
        if hasattr(command, "commands"):
            yield from ([name, *words] for words in _commands(command))


def components(kind: Kind) -> list[str]:
    """Lines that document every component of a kind, in the order of their names, plugins included."""
    lines = []
    for name, place in sorted(names(kind).items()):
        lines.append(f".. autoclass:: {place.replace(':', '.')}")
        if hasattr(lookup(kind, name), "tune"):
            lines.append("   :members: tune")
    return lines


class Components(SphinxDirective):
    """``.. components:: models``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the lines in place of the directive."""
        node = nodes.Element()
        lines = StringList(components(self.arguments[0]), source=f"components {self.arguments[0]}")
        self.state.nested_parse(lines, self.content_offset, node)
        return node.children


def write(_app: object) -> None:
    """Write both pages where they changed."""
    folder = Path(__file__).parent.parent / "reference"
    for name, text in (("methods.md", methods_page()), ("cli.md", cli_page())):
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: object) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write)  # type: ignore[attr-defined]
    app.add_directive("components", Components)  # type: ignore[attr-defined]
    return {"parallel_read_safe": True}
