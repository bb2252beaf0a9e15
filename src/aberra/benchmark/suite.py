"""A benchmark suite is data: cohorts, tasks, methods, seeds and budget in one TOML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from aberra.benchmark.rows import CELL, METRICS, SHOWN_IN_TABLES, short
from aberra.errors import ConfigError, expect_known
from aberra.files import config_hash, read_toml
from aberra.former import successor
from aberra.method import Method, catalogue
from aberra.options import (
    Maybe,
    NotNegative,
    Share,
    ShareAboveZero,
    Within,
    accepted,
    checked,
    complete,
    configured,
    conforming,
)
from aberra.prepare.brain_mask import MaskMethod  # noqa: TC001 (options are checked against it)
from aberra.prepare.plan import checked_wishes
from aberra.registry import lookup, network_of

BASELINES: dict[str, dict[str, Any]] = {
    "intensity-unfiltered": {"without": ["postprocess.median_mm"]},
    # its common grid has a size of its own; phantoms are in MNI space already, and registering
    # takes seconds a scan
    "zmap": {"without": ["prepare.size"], "settings": {"prepare.register": "none"}},
}
"""What a suite's settings must leave of the methods with ``baseline = true``, which every table
has."""

FOLDS = 10
"""That a cohort's patients may be dealt to."""

POLARITIES: tuple[dict[str, Any], ...] = (
    {"name": "intensity", "label": "intensity, dark", "settings": {"model.polarity": "dark"}},
    {"name": "intensity", "label": "intensity, two-sided", "settings": {"model.polarity": "both"}},
)
"""The plain threshold's other sides, which every table has, too: a method must beat the best of the
three."""


WIDTH = "model.network.width"
"""A setting of the suite's that means the methods' own networks; rows with another one follow by
the same factor."""


@dataclass(frozen=True, kw_only=True)
class CohortSpec:
    """Where the cases of a cohort come from: exactly one of ``phantom``, ``ellipses``,
    ``manifest``, ``plant``, ``mood``, ``edit`` and ``union``.

    Attributes:
        phantom: options of :func:`aberra.synthesis.write_cohort`.
        ellipses: options of :func:`aberra.synthesis.ellipses.write_ellipses`.
        manifest: path of a manifest, relative to the data folder.
        plant: options of :func:`aberra.synthesis.lesion_cohort`, with ``cohort``, the name of the
            healthy cohort planted into.
        mood: options of :func:`aberra.mood.make_set`, with ``cohort``, the name of the scans with all
            their splits; with ``contaminate``, of :func:`aberra.mood.contaminated_set`, of whose
            training scans that share is not healthy.
        edit: options of :func:`aberra.workflows.edit_cohort.edit_cohort`, ``draw`` among them, with
            ``cohort``, the name of the cohort that is edited, and ``editor``, a row (``name``,
            ``settings``, ``without``) and the names of its ``train`` and ``validation`` cohorts.
        union: names of cohorts that are put together, such as one a scanner; of one alone it is
            that cohort, of which ``share`` may then take a part.
        split: only this split of a manifest.
        channels: columns to read; all that every case has without.
        mask: how the brain mask of cases without one is found, once, for all methods and for what
            is judged (a method of :class:`aberra.prepare.brain_mask.BrainMask`); without it every
            method finds its own, and all but the background is judged.
        healthy: only healthy cases.
        most: at most so many cases, spread evenly; 0 is all.
        share: of the patients, in the order in which they come first, those from one share to
            another: ``[0.8, 1.0]`` are the last fifth. Nothing is all. With the suite's ``resplit``
            the order is drawn from the seed, and the share is one of the patients of each label.
        folds: of the patients, dealt to ten folds in the order in which they come, those of these;
            0 to 9. Nothing is all. For cohorts that are sorted by their label.
        without: names of cases that are left out, blank ones say.

    Examples:
        >>> from aberra.benchmark.suite import CohortSpec
        >>> CohortSpec(phantom={"cases": 8, "spacing": 6.0}).phantom["cases"]
        8
    """

    phantom: dict[str, Any] = field(default_factory=dict)
    ellipses: dict[str, Any] = field(default_factory=dict)
    manifest: str = ""
    plant: dict[str, Any] = field(default_factory=dict)
    mood: dict[str, Any] = field(default_factory=dict)
    edit: dict[str, Any] = field(default_factory=dict)
    union: tuple[str, ...] = ()
    split: str = ""
    channels: tuple[str, ...] = ()
    mask: MaskMethod | Literal[""] = ""
    healthy: bool = False
    most: Maybe = 0
    share: tuple[Share, ...] = ()
    folds: tuple[Annotated[int, Within(0, FOLDS - 1)], ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """Train on one cohort, test on several.

    Attributes:
        name: of the task.
        train: name of the cohort to learn from.
        validation: name of the cohort for early stopping and calibration.
        healthy: name of a cohort of unseen healthy cases, for false-positive rates; may be empty.
        test: names of the cohorts with lesions.
        settings: for every method, over the suite's.
        compare: cohort to data set of a publication (``published.toml``), whose order is compared
            with ours.

    Examples:
        >>> from aberra.benchmark.suite import Task
        >>> Task(name="t1", train="healthy", validation="val", test=("ms",)).test
        ('ms',)
    """

    name: str
    train: str
    validation: str
    healthy: str = ""
    test: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    compare: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the tables.

    Attributes:
        label: its name.
        name: catalogue name or TOML file; empty for a saved detector.
        detector: folder of a saved detector, which is only calibrated on the validation cohort, and
            keeps its own calibration where no case there is healthy.
        settings: ``section.key`` to value.
        without: settings of suite and task that are left out.
        score: a score instead of the method's own.
        subjects: share of the training patients.
        sweep: the settings of this row that its neighbours vary, for the figure of a sweep.
        tasks: names of the tasks it runs in; all without.

    Examples:
        >>> from aberra.benchmark.suite import Entry
        >>> Entry(label="dae, half of the patients", name="dae", subjects=0.5).subjects
        0.5
    """

    label: str
    name: str = ""
    detector: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    score: dict[str, Any] = field(default_factory=dict)
    subjects: ShareAboveZero = 1.0
    sweep: dict[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Suite:
    """See ``docs/how-to/benchmark.md`` for the file format.

    Attributes:
        name: of the suite.
        title: in words.
        summary: what it asks.
        seeds: of weights and sampling, one repetition each.
        resplit: every seed is another split, too: the shares of cohorts are of patients in an
            order drawn from the seed.
        bootstrap: replicates over patients.
        protocol: threshold protocol of masks and of the Dice in the tables.
        tiny: methods at test size (their ``[tiny]``): a run that shows whether all works, and
            measures nothing.
        budget: ``steps`` (most optimiser steps of any method) and ``minutes`` (most training time
            of any method), 0 is no limit.
        settings: ``section.key`` to value for every method that has the key; ``training`` only
            where a method trains by gradient, ``training.slices`` always.
        cohorts: name to source.
        tasks: what is trained and tested.
        methods: the rows.
        metrics: columns of the tables in this order, named as in results.csv, which has all; the
            rows are in the order of AP whatever is shown.

    Examples:
        >>> from aberra.benchmark.suite import Suite
        >>> suite = Suite.load("smoke")
        >>> suite.tiny, [task.name for task in suite.tasks]
        (True, ['phantom'])
    """

    name: str
    title: str = ""
    summary: str = ""
    seeds: tuple[int, ...] = (0,)
    resplit: bool = False
    bootstrap: Annotated[int, Within(1, 100_000)] = 200
    protocol: str = "healthy-fpr-1"
    tiny: bool = False
    budget: dict[str, NotNegative] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    cohorts: dict[str, CohortSpec]
    tasks: tuple[Task, ...]
    methods: tuple[Entry, ...]
    metrics: tuple[str, ...] = SHOWN_IN_TABLES

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Suite:
        """Load a shipped suite by name or a TOML file.

        Besides the attributes a file may say ``catalogue = true`` (every method of the catalogue is
        a row) and have a ``[grid]`` of ``methods`` × ``scores``. The methods with
        ``baseline = true`` (``intensity``, ``intensity-unfiltered``, ``intensity-depth``, ``zmap``,
        ``random``) are always there, and so is ``intensity`` for dark and for two-sided lesions.

        Args:
            name_or_path: name or file.
            overrides: ``section.key`` to value over the suite's settings, ``budget.KEY`` over its
                budget.

        Raises:
            ConfigError: unknown name, key or metric, broken TOML, a cohort that is not defined, or
                a label that is not unique.
        """
        path = Path(name_or_path)
        if path.suffix != ".toml":
            known = shipped()
            expect_known("suite", [str(name_or_path)], known)
            path = known[str(name_or_path)]
        content = read_toml(path)
        tables = list[dict[str, Any]]
        whole = conforming(content.pop("catalogue", False), bool, f"{path}: catalogue")
        rows = conforming(content.pop("methods", []), tables, f"{path}: methods")
        grid = conforming(content.pop("grid", {}), dict[str, Any], f"{path}: grid")
        grid = checked(_grid, grid, "grid", source=path, given=("path",))
        methods = [row for each in rows for row in _entries(each, path)]
        methods += _grid(**grid, path=path)
        there = {row.name for row in methods if not row.sweep and row.subjects == 1}
        for name in catalogue():
            if name not in there and (whole or Method.load(name).baseline):
                methods += _entries({"name": name} | BASELINES.get(name, {}), path)
        labels = {row.label for row in methods}
        methods += [row for each in POLARITIES if each["label"] not in labels for row in _entries(each, path)]
        named = dict[str, dict[str, Any]]
        tasks = [
            _build(Task, {"name": name} | each, path, f"tasks.{name}")
            for name, each in conforming(content.pop("tasks", {}), named, f"{path}: tasks").items()
        ]
        cohorts = {
            name: _build(CohortSpec, each, path, f"cohorts.{name}")
            for name, each in conforming(content.pop("cohorts", {}), named, f"{path}: cohorts").items()
        }
        for key, value in (overrides or {}).items():
            name = key.removeprefix("budget.")
            table = "settings" if name == key else "budget"
            own = conforming(content.get(table, {}), dict[str, Any], f"{path}: {table}")
            content[table] = own | {name: value}
        suite: Suite = _build(
            cls,
            {"name": path.stem} | content | {"cohorts": cohorts, "tasks": tasks, "methods": methods},
            path,
        )
        suite.check(path)
        return suite

    def check(self, path: Path) -> None:
        """Refuse what cannot work before anything is made.

        Raises:
            ConfigError: names the file and what is wrong.
        """
        if not self.seeds:
            raise ConfigError(f"{path}: seeds=[]: expected one or more, as in seeds = [0]")
        if not self.tasks:
            raise ConfigError(f"{path}: no [tasks.NAME]; a task has train, validation and test cohorts")
        self._check_cohorts(path)
        labels = [entry.label for entry in self.methods]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice:
            raise ConfigError(
                f"{path}: more than one row is called {', '.join(sorted(twice))}; give them labels"
            )
        expect_known(f"budget in {path}:", self.budget, ("steps", "minutes"))
        expect_known(f"metric in {path}:", self.metrics, METRICS)

    def _check_cohorts(self, path: Path) -> None:
        for task in self.tasks:
            named = (task.train, task.validation, *task.test, *filter(None, [task.healthy]))
            expect_known(f"cohort in {path}:", named, self.cohorts)
            if task.compare:
                from aberra.benchmark.statistics import data_sets

                expect_known(f"cohort in {path}: tasks.{task.name}.compare:", task.compare, task.test)
                expect_known(f"data set in {path}: compare:", task.compare.values(), data_sets())
        for name, spec in self.cohorts.items():
            origins = (
                spec.phantom,
                spec.ellipses,
                spec.manifest,
                spec.plant,
                spec.mood,
                spec.edit,
                spec.union,
            )
            if sum(map(bool, origins)) != 1:
                raise ConfigError(
                    f"{path}: cohort '{name}' needs exactly one of phantom, ellipses, manifest, plant, mood, edit and union"
                )
            if spec.share and (len(spec.share) != 2 or not spec.share[0] < spec.share[1]):
                raise ConfigError(
                    f"{path}: cohort '{name}': share={list(spec.share)}: expected two numbers, the lower one first, as in [0.8, 1.0]"
                )
            of = [*spec.union, *(made.get("cohort") for made in (spec.plant, spec.mood, spec.edit) if made)]
            if spec.edit:
                editor = conforming(spec.edit.get("editor"), dict[str, Any], f"{path}: {name}: edit.editor")
                of += [editor.get("train"), editor.get("validation")]
                if "draw" not in spec.edit:
                    raise ConfigError(f"{path}: cohort '{name}': edit needs draw, the seed of the masks")
            expect_known(f"cohort in {path}:", of, self.cohorts)

    @property
    def identity(self) -> str:
        """Hash of everything that results depend on; adding or removing rows, seeds, tasks and
        columns does not change it.
        """
        asked = [key for key in ("tiny", "resplit") if getattr(self, key)]
        keys = ("bootstrap", "protocol", "budget", "settings", "cohorts", *asked)
        own = asdict(self)
        for spec in own["cohorts"].values():
            # suites that have none are what they were before there was any
            for late in ("edit", "union", "share", "without", "ellipses", "folds"):
                if not spec[late]:
                    del spec[late]
        return config_hash([own[key] for key in keys])

    def entries(self, task: Task, only: Sequence[str] = ()) -> list[Entry]:
        """Rows of a task; ``only`` chooses by label, or, where no row is called that, by method.

        Raises:
            ConfigError: a name in ``only`` is not in the suite.
        """
        labels = {entry.label for entry in self.methods}
        known = labels | {entry.name for entry in self.methods}
        expect_known("method of this suite", only, known)
        return [
            entry
            for entry in self.methods
            if (not entry.tasks or task.name in entry.tasks)
            and (not only or entry.label in only or entry.name in set(only) - labels)
        ]

    def method(self, task: Task, entry: Entry) -> Method:
        """The method of a row under the suite's settings and budget.

        Raises:
            ConfigError: unknown method or setting.
        """
        method = Method.load(entry.name)
        if self.tiny:
            method = method.at_test_size()
        common = {
            key: value
            for key, value in (self.settings | task.settings).items()
            if key not in entry.without and _applies(method, key)
        }
        own, method = method, method.overridden(common | entry.settings)
        if WIDTH in common and WIDTH not in entry.settings:
            method = method.overridden(_as_narrow(own, method, common[WIDTH]))
        if entry.score:
            method = replace(method, score=dict(entry.score))
        if "steps" in method.training and self.budget.get("steps"):
            most = min(int(self.budget["steps"]), int(method.training["steps"]))
            method = method.overridden({"training.steps": most})
        if "steps" in method.training and self.budget.get("minutes"):
            method = method.overridden({"training.minutes": float(self.budget["minutes"])})
        checked_wishes(method.prepare)
        return method


def shipped() -> dict[str, Path]:
    """Name to file of the suites that come with aberra."""
    return {
        path.stem: path for path in sorted(Path(str(files("aberra.benchmark") / "suites")).glob("*.toml"))
    }


def _applies(method: Method, key: str) -> bool:
    """Whether a suite-wide setting means anything to a method."""
    section, _, option = key.partition(".")
    if section == "model":
        return _takes(method.model, option) or successor(method.model["name"], option) is not None
    if section == "training":
        # which slices are healthy is a fact of the cohort, not of the optimiser
        return bool(method.training) or option == "slices"
    if section == "score":
        from aberra.scores import options_of

        known = options_of(method.score)
        return not known.isdisjoint({option, f"restore.{option}", f"compare.{option}"})
    return True


def _as_narrow(own: Method, method: Method, width: int) -> dict[str, Any]:
    """Settings that make the other network of a row narrower by the factor by which ``width`` makes
    the method's own narrower.

    Args:
        own: the method as it is in the catalogue.
        method: the same with the row's settings.
        width: of the suite's settings, meant for the method's own network.
    """
    model = lookup("models", own.model["name"])
    before, after = (network_of(model, each.model.get("network")) for each in (own, method))
    if before["name"] == after["name"] or "width" in after:
        return {}
    full, other = (
        each.get("width", lookup("networks", each["name"]).width)
        for each in (before, {"name": after["name"]})
    )
    return {WIDTH: max(1, round(other * width / full))}


def _takes(config: Mapping[str, Any], option: str) -> bool:
    """Whether a model has an option, ``network.width`` being one of its network."""
    model = lookup("models", config["name"])
    table, _, option_of_network = option.partition(".")
    if not option_of_network or table != "network" or not hasattr(model, "NETWORK"):
        return option in accepted(model)
    name = network_of(model, config.get("network"))["name"]
    return option_of_network == "name" or option_of_network in accepted(lookup("networks", name))


def _entries(content: Mapping[str, Any], path: Path) -> list[Entry]:
    """Rows of one table in [[methods]]: one a name, share of subjects and combination of swept
    settings; a label of several names stands behind each of them.
    """
    named = content.get("name") or content.get("detector")
    if not named:
        raise ConfigError(f"{path}: a row of [[methods]] needs 'name' (a method) or 'detector' (a saved one)")
    if isinstance(named, list):
        several = conforming(named, list[str], f"{path}: methods: name")
        behind = f", {content['label']}" if "label" in content else ""
        alone = [{"name": name, "label": f"{Path(name).stem}{behind}"} for name in several]
        return [row for each in alone for row in _entries({**content, **each}, path)]
    given = {"label": Path(str(named)).stem} | dict(content)
    shares, swept = given.pop("subjects", 1.0), given.pop("sweep", {})
    if not isinstance(swept, dict) or not all(
        isinstance(values, list) and values for values in swept.values()
    ):
        raise ConfigError(f"{path}: {given['label']}: sweep expects a list of values for each setting")
    own = conforming(given.get("settings", {}), dict[str, Any], f"{path}: {given['label']}: settings")
    found: list[Entry] = []
    for share in shares if isinstance(shares, list) else [shares]:
        conforming(share, ShareAboveZero, f"{path}: {given['label']}: subjects")
        for values in product(*swept.values()):
            point = dict(zip(swept, values, strict=True))
            label = given["label"] if share == 1 else f"{given['label']}{CELL}{share:.0%} of subjects"
            if point:
                said = (f"{key.rpartition('.')[2]} {short(value)}" for key, value in point.items())
                label = f"{label}{CELL}{', '.join(said)}"
            row = {"settings": own | point, "sweep": point, "subjects": float(share)}
            found.append(_build(Entry, given | row | {"label": label}, path, "methods"))
    return found


@configured("grid")
def _grid(
    *, path: Path, methods: Sequence[str] = (), scores: Sequence[Mapping[str, Any]] = ()
) -> list[Entry]:
    """Every score of a grid with every method of it, where the model has what the score needs."""
    from aberra.errors import PairingError
    from aberra.scores import SmoothedScore, check_pairing

    found = []
    for name in methods:
        for each in scores:
            score = dict(each)
            label = score.pop("label", score.get("name", ""))
            try:
                method = replace(Method.load(name), score=score)
                check_pairing(lookup("models", method.model["name"]), SmoothedScore.of(method.score).score)
            except PairingError:
                continue
            found += _entries({"name": name, "label": f"{name}{CELL}{label}", "score": score}, path)
    return found


def _build(cls: type[Any], content: Mapping[str, Any], path: Path, where: str = "") -> Any:
    """Build a dataclass from a TOML table; lists become tuples.

    Raises:
        ConfigError: an unknown or missing key, or a value of the wrong type.
    """
    found = checked(cls, content, where, source=path)
    frozen = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return cls(**complete(cls, frozen, f"{path}: {where or cls.__name__.lower()}"))
