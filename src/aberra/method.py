"""A method is data: one TOML file that pairs a model, a score and post-processing.

The catalogue's files lie in ``aberra/catalogue``; a path to a user's own file works wherever a name does. A file with
``base = "vae"`` starts from that method: its own texts and keys win, and a section with a ``name`` of its own replaces the whole
section. Methods that differ in score, post-processing and case score only share one trained model.
"""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aberra.errors import ConfigError, unknown
from aberra.files import read_toml
from aberra.options import checked, complete, conforming

if TYPE_CHECKING:
    from collections.abc import Mapping

SUPERVISED = ("labels", "masks")
"""What methods say that learn from diseased cases, too."""

SECTIONS = ("model", "training", "score", "postprocess", "prepare", "case")


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named method.

    Attributes:
        name: as in ``aberra fit NAME``.
        title: in words.
        learns_from: ``nothing``, ``healthy`` scans, ``labels`` (which scans or slices are diseased, too) or ``masks`` of lesions.
        summary: the idea in a sentence or two.
        reference: the publication.
        deviations: where we differ from it, one sentence each.
        cost: what it takes to train and to run.
        when: when to use it.
        failure: what it is known to miss.
        measured: what was measured here, with command and date.
        model: ``name`` and hyper-parameters.
        training: keys of :class:`aberra.training.TrainingConfig`.
        score: ``name`` and options.
        postprocess: keys of :class:`aberra.detector.postprocess.PostProcess`.
        prepare: ``steps`` (a whole recipe) or wishes for :func:`aberra.prepare.plan`.
        case: keys of :class:`aberra.detector.postprocess.CaseScore`.
    """

    name: str
    title: str = ""
    learns_from: Literal["nothing", "healthy", "labels", "masks"] = "healthy"
    summary: str = ""
    reference: str = ""
    deviations: list[str] = field(default_factory=list)
    cost: str = ""
    when: str = ""
    failure: str = ""
    measured: str = ""
    model: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    score: dict[str, Any]
    postprocess: dict[str, Any] = field(default_factory=dict)
    prepare: dict[str, Any] = field(default_factory=dict)
    case: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Method:
        """Load a method by catalogue name or from a TOML file.

        Args:
            name_or_path: ``dae`` or ``my/method.toml``.
            overrides: dotted key to value, as in ``{"model.latent": 64}``.

        Raises:
            ConfigError: unknown name, key or broken TOML.
        """
        source = _source(name_or_path)
        return cls.from_dict({"name": source.stem} | _content(source), source).overridden(overrides or {})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], source: object = "method") -> Method:
        """Check keys and build.

        Raises:
            ConfigError: unknown key, or no model or score.
        """
        content = checked(cls, content, source=source)
        for section in ("model", "score"):
            if "name" not in content.get(section, {}):
                raise ConfigError(
                    f"{source}: [{section}] needs a 'name'; `aberra methods --json` shows examples"
                )
        return cls(**complete(cls, content, str(source)))

    def overridden(self, overrides: Mapping[str, Any]) -> Method:
        """Return a copy with dotted keys set.

        Raises:
            ConfigError: a key does not begin with a section.
        """
        content = self.to_dict()
        for key, value in overrides.items():
            section, _, option = key.partition(".")
            if section not in SECTIONS or not option:
                raise unknown("setting", section, [f"{each}.…" for each in SECTIONS])
            content[section] = content[section] | {option: value}
        return type(self)(**content)

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

    @property
    def learnt(self) -> dict[str, Any]:
        """What the weights depend on: methods that agree in it share one trained model."""
        return {"model": self.model, "training": self.training, "prepare": self.prepare}


def catalogue() -> dict[str, Path]:
    """Name to file of every method that ships with aberra."""
    folder = Path(str(files("aberra") / "catalogue"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _source(name_or_path: str | Path) -> Path:
    """The file of a catalogue name, or the path itself."""
    path = Path(name_or_path)
    there = isfile(path)  # noqa: PTH113  (a name that is too long for a file is no error here)
    if path.suffix == ".toml" or there:
        if not there:
            raise ConfigError(f"{path}: no such method file; `aberra methods` lists the catalogue")
        return path
    known = catalogue()
    if str(name_or_path) not in known:
        raise unknown("method", str(name_or_path), known)
    return known[str(name_or_path)]


def _content(source: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's content over that of its base's, checked."""
    content = read_toml(source)
    base = conforming(content.pop("base", None), str | None, f"{source}: base")
    content = checked(Method, content, source=source)
    if base is None:
        return content
    # a file beside this one, or a catalogue name
    below = _source(source.parent / base if base.endswith(".toml") else base)
    if below.resolve() in [each.resolve() for each in (source, *above)]:
        raise ConfigError(f"{source}: base={base}: the file starts from itself")
    own = _content(below, (source, *above))
    merged: dict[str, Any] = {section: own.get(section, {}) for section in SECTIONS}
    for key, value in content.items():
        merged[key] = merged[key] | value if key in SECTIONS and "name" not in value else value
    return {"learns_from": own.get("learns_from", "healthy")} | merged


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Read ``section.key=value`` options; values as in TOML, anything else is text.

    Raises:
        ConfigError: no ``=``.
    """
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set {setting}: expected section.key=value, as in --set model.latent=64")
        try:
            (parsed[key.strip()],) = tomllib.loads(f"value = {value}").values()
        except (ValueError, RecursionError):  # not TOML, more than one value, or too much of it
            parsed[key.strip()] = value.strip()
    return parsed
