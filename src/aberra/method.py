"""A method is data: one TOML file that pairs a model, a score and post-processing.

The catalogue's files lie in ``aberra/catalogue``; a path to a user's own file works wherever a name
does. A file with ``base = "vae"`` starts from that method: its own texts and keys win, and a
section, or a table of ``[model]`` or ``[score]``, with a ``name`` of its own replaces the whole
one; ``[prepare] steps`` replace all but ``size`` and ``dims``. Methods that differ in score,
post-processing and case score only share one trained model.

What several entries of the catalogue say is written once: a file whose name begins with ``_`` is no
method but can be a ``base``, and ``@key`` in ``reference`` and ``deviations`` stands for a text of
``catalogue/_texts.toml``.

Two tables say how a method is tested, and are no part of what it is: ``[tiny]`` and
``[conformance]``, see :mod:`aberra.testing`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from aberra.errors import ConfigError, expect_known, unknown
from aberra.files import read_toml
from aberra.former import present_method, present_score, successor
from aberra.options import checked, complete, conforming

SUPERVISED = ("labels", "masks")
"""What methods say that learn from diseased cases, too."""

SECTIONS = ("model", "training", "score", "postprocess", "prepare", "case")

INHERITED = ("learns_from", "family")
"""What a method takes from its base besides the sections."""

BESIDE_STEPS = ("size", "dims")
"""Of a base's ``[prepare]``, what holds for other steps, too."""

TABLES = ("network", "encoder", "density", "member")
"""Options of models that are tables; a text is the name of one."""

RETIRED = ("measured",)
"""Keys of earlier versions: files and saved detectors that have them are read as if they had
not."""

KEY = re.compile(r"(?<!\S)@([\w-]+)")
"""Stands for a text that several methods share."""

CATALOGUE = Path(__file__).parent / "catalogue"

TESTING = ("tiny", "conformance")
"""Tables that say how a method is tested."""


@dataclass(frozen=True, kw_only=True)
class Conformance:
    """What the conformance suite has to know of a method.

    Attributes:
        lesion: what it can find, ``hyper`` (bright) or ``hypo`` (dark).
        xfail: check to the reason why the method cannot pass it.
    """

    lesion: Literal["hyper", "hypo"] = "hyper"
    xfail: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named method.

    Attributes:
        name: as in ``aberra fit NAME``.
        title: in words.
        family: of the methods that it is told apart from by colour in figures; inherited from the
            base.
        baseline: whether every table of a benchmark has it.
        learns_from: ``nothing``, ``healthy`` scans, ``labels`` (which scans or slices are diseased,
            too) or ``masks`` of lesions.
        summary: the idea in a sentence or two.
        reference: the publication.
        deviations: where we differ from it, one sentence each.
        cost: what it takes to train and to run.
        when: when to use it.
        failure: what it is known to miss.
        model: ``name`` and hyper-parameters, ``network`` among them; a former form is read as the
            present one, as of the score.
        training: keys of :class:`aberra.training.TrainingConfig`.
        score: ``name`` and options, ``restore`` and ``compare`` among them; a former form is read
            as the present one.
        postprocess: keys of :class:`aberra.detector.postprocess.PostProcess`.
        prepare: ``dims``, and ``steps`` (a whole recipe) with ``size`` or wishes
            for :func:`aberra.prepare.plan`.
        case: keys of :class:`aberra.detector.postprocess.CaseScore`.
        tiny: section to what :meth:`at_test_size` changes in it.
        conformance: keys of :class:`Conformance`.

    Examples:
        >>> from aberra.method import Method
        >>> method = Method.load("vae-restoration", {"training.steps": 600})
        >>> method.model["name"], method.question, method.training["steps"]
        ('vae', 'residual (restoration)', 600)
        >>> method.learnt == Method.load("vae", {"training.steps": 600}).learnt
        True
    """

    name: str
    title: str = ""
    family: str = ""
    baseline: bool = False
    learns_from: Literal["nothing", "healthy", "labels", "masks"] = "healthy"
    summary: str = ""
    reference: str = ""
    deviations: list[str] = field(default_factory=list)
    cost: str = ""
    when: str = ""
    failure: str = ""
    model: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    score: dict[str, Any]
    postprocess: dict[str, Any] = field(default_factory=dict)
    prepare: dict[str, Any] = field(default_factory=dict)
    case: dict[str, Any] = field(default_factory=dict)
    tiny: dict[str, dict[str, Any]] = field(default_factory=dict)
    conformance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.model.get("name")
        model = (
            name if isinstance(name, str) else ""
        )  # what it is instead is refused where the model is built
        present = present_method({section: getattr(self, section) for section in SECTIONS}, model)
        for section, table in {**present, "tiny": present_method(self.tiny, model)}.items():
            object.__setattr__(self, section, table)

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Method:
        """Load a method by catalogue name or from a TOML file.

        Args:
            name_or_path: ``dae``, or a file: what has a path separator or ends in ``.toml``.
            overrides: dotted key to value, as in ``{"model.latent": 64, "score.compare.mode":
                "positive"}``.

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
        content = _known(content, source)
        for section in ("model", "score"):
            if "name" not in content.get(section, {}):
                raise ConfigError(
                    f"{source}: [{section}] needs a 'name'; `aberra methods --json` shows examples"
                )
        expect_known(f"section in {source}: tiny:", content.get("tiny", {}), SECTIONS)
        tested, title = content.get("conformance", {}), f"[conformance] in {source}"
        checked(Conformance, tested, "conformance", source=source, title=title)
        return cls(**complete(cls, content, str(source)))

    def overridden(self, overrides: Mapping[str, Any]) -> Method:
        """Return a copy with dotted keys set.

        Raises:
            ConfigError: a key does not begin with a section, or is of an earlier version.
        """
        content = self.to_dict()
        for key, value in overrides.items():
            section, *path = key.split(".")
            if section not in SECTIONS or not all(path) or not path:
                raise unknown("setting", section, [f"{each}.…" for each in SECTIONS])
            if section == "model" and (now := successor(self.model.get("name"), path[0], value)):
                raise ConfigError(f"{key}: is {now} now")
            if section == "model" and len(path) == 1 and path[0] in TABLES and isinstance(value, str):
                value = {"name": value}  # noqa: PLW2901
            content[section] = _with(content[section], path, value)
        return type(self)(**content)

    def at_test_size(self) -> Method:
        """Return the method small enough for two cores: what suits most, and over it its own
        ``[tiny]``.
        """
        small: dict[str, dict[str, Any]] = {"prepare": {"size": 32}}
        if self.training:
            small["training"] = {"steps": 60, "batch_size": 8, "learning_rate": 2e-3}
        if self.learns_from != "nothing" and "median_mm" not in self.postprocess:
            # five voxels, as in the study: what so small a net misses is noise
            small["postprocess"] = {"median_mm": 30.0}
        small = _merged(small, self.tiny)
        sections: dict[str, Any] = {key: _merged(getattr(self, key), own) for key, own in small.items()}
        return replace(self, **sections)

    def to_dict(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)

    @property
    def record(self) -> dict[str, Any]:
        """What a detector keeps: all but how the method is tested."""
        return {key: value for key, value in self.to_dict().items() if key not in TESTING}

    @property
    def question(self) -> str:
        """The score in words, ``residual (guided)`` where the healthy version is not the model's
        reconstruction.
        """
        restore = self.score.get("restore")
        return f"{self.score['name']} ({restore['name']})" if restore else str(self.score["name"])

    @property
    def settings(self) -> dict[str, Any]:
        """All that a result depends on: everything but name and texts."""
        return {"learns_from": self.learns_from} | {section: getattr(self, section) for section in SECTIONS}

    @property
    def learnt(self) -> dict[str, Any]:
        """What the weights depend on: methods that agree in it share one trained model."""
        return {"model": self.model, "training": self.training, "prepare": self.prepare}


def catalogue() -> dict[str, Path]:
    """Name to file of every method that has a name: aberra's own, then those of plugins."""
    return _named()[0]


@cache
def _named() -> tuple[dict[str, Path], dict[str, str]]:
    """Name to file, and plugin to why its methods are not among them.

    A plugin names the package whose folder holds its TOML files, in the entry-point group
    ``aberra.methods``.
    """
    folders, broken = [CATALOGUE], {}
    for point in sorted(entry_points(group="aberra.methods")):
        try:  # what one plugin breaks must not take the others' methods away
            spec = find_spec(point.value)
        except Exception as error:  # noqa: BLE001  (whatever the import of its parent package raises)
            broken[point.name] = f"{type(error).__name__}: {error}"
            continue
        if spec is None or not spec.submodule_search_locations:
            broken[point.name] = f"{point.value} is no package that is installed"
        else:
            folders += [Path(folder) for folder in spec.submodule_search_locations]
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob("[!_]*.toml")):
            found.setdefault(path.stem, path)
    return found, broken


@cache
def _texts() -> dict[str, Any]:
    return read_toml(CATALOGUE / "_texts.toml")


def _spelt(text: str, source: Path) -> str:
    """A text with those that it names."""

    def shared(match: re.Match[str]) -> str:
        if match[1] not in _texts():
            raise unknown(f"text in {source}:", match[1], _texts())
        return str(_texts()[match[1]])

    return KEY.sub(shared, text)


def _known(content: Mapping[str, Any], source: object) -> dict[str, Any]:
    """Content whose keys are a method's."""
    return checked(
        Method, {key: value for key, value in content.items() if key not in RETIRED}, source=source
    )


def _source(name_or_path: str | Path) -> Path:
    """The file of a catalogue name, or the path itself; a file in the working folder never stands
    for a name.
    """
    path, name = Path(name_or_path), str(name_or_path)
    if path.suffix == ".toml" or path.name != name:
        if not _is_file(path):
            raise ConfigError(f"{path}: no such method file; `aberra methods` lists the catalogue")
        return path
    known, broken = _named()
    if name not in known:
        error = unknown("method", name, known)
        notes = [f"plugin {plugin} gives none: {reason}" for plugin, reason in broken.items()]
        raise ConfigError("; ".join([str(error), *notes])) if notes else error
    return known[name]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over tables key by key; one with a ``name`` of its own replaces what is below it."""
    merged = dict(below)
    for key, value in above.items():
        own = merged.get(key)
        if isinstance(own, Mapping) and isinstance(value, Mapping) and "name" not in value:
            value = _merged(own, value)  # noqa: PLW2901
        merged[key] = value
    return merged


def _content(source: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A file's content over that of its base's, checked."""
    content = read_toml(source)
    base = conforming(content.pop("base", None), str | None, f"{source}: base")
    content = _known(content, source)
    model = content.get("model", {})
    if texts := {key: {"name": model[key]} for key in TABLES if isinstance(model.get(key), str)}:
        content["model"] = model | texts
    if "reference" in content:
        content["reference"] = _spelt(content["reference"], source)
    if "deviations" in content:
        content["deviations"] = [_spelt(each, source) for each in content["deviations"]]
    if base is None:
        return content
    # a file beside this one, or a catalogue name
    below = _source(source.parent / base if base.endswith(".toml") else base)
    if below.resolve() in [each.resolve() for each in (source, *above)]:
        raise ConfigError(f"{source}: base={base}: the file starts from itself")
    own = _content(below, (source, *above))
    merged: dict[str, Any] = {section: own.get(section, {}) for section in SECTIONS}
    kept = {key: value for key, value in own.get("tiny", {}).items() if "name" not in content.get(key, {})}
    content = {"tiny": {}} | content
    if "name" in merged["score"]:
        merged["score"] = present_score(merged["score"])
    for key, value in content.items():
        if key not in SECTIONS or "name" in value:
            merged[key] = value
        elif key == "prepare" and "steps" in value:
            merged[key] = {each: merged[key][each] for each in BESIDE_STEPS if each in merged[key]} | value
        else:
            deep = key in ("model", "score")
            merged[key] = _merged(merged[key], value) if deep else merged[key] | value
    merged["tiny"] = _merged(kept, content["tiny"])
    return {key: own[key] for key in INHERITED if key in own} | merged


def _with(content: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A table with the value at a path of keys."""
    key, *rest = path
    if rest:
        below = content.get(key, {})
        value = _with(below if isinstance(below, dict) else {}, rest, value)
    return {**content, key: value}


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
