"""Tables or folders of scores into a ranking with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np

from aberra.cohort.table import SUFFIXES as TABLES
from aberra.cohort.table import read_table
from aberra.errors import InputError, ManifestError, expect_known, shortlist
from aberra.files import config_hash, csv_text, read_json, reading, write_json, write_text
from aberra.mood.ranking import (
    Evidence,
    Place,
    agreement,
    agreement_interval,
    by_subclass,
    opposed,
    ranking,
    stability,
)
from aberra.options import Within, configured
from aberra.output import claim
from aberra.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping

BENCHMARK = ("task", "cohort", "label", "sweep", "metric", "protocol", "value")
"""Columns by which the table of a benchmark is known."""

T = TypeVar("T")

Values = dict[str, dict[str, float]]
"""Data set to team to value."""

Saved = dict[str, dict[str, dict[str, Any]]]
"""Data set to team to what ``score.json`` holds."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A ranking and what is known of it.

    Attributes:
        places: the teams, best first.
        agreement: data set to τ-b with the second table and the number of teams; empty without.
        interval: 95 % interval of the τ-b of the final rankings; None without.
        opposed: rows of :func:`aberra.mood.ranking.opposed`; empty without.
        stability: team to how often it had each rank in the bootstrap; empty of a table of values.
        replicates: of the bootstrap.
        subclasses: data set to rows of :func:`aberra.mood.ranking.by_subclass`.
        notes: what a reader must know.
    """

    places: list[Place]
    agreement: dict[str, tuple[float, int]] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    opposed: list[dict[str, Any]] = field(default_factory=list)
    stability: dict[str, list[int]] = field(default_factory=dict)
    replicates: int = 0
    subclasses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@configured("mood rank")
def rank(
    paths: Sequence[Path],
    *,
    out: Path | None = None,
    against: Sequence[Path] = (),
    datasets: Sequence[str] = (),
    datasets_against: Sequence[str] = (),
    metric: str = "AP",
    replicates: Annotated[int, Within(1, 1_000_000)] = 1000,
    seed: int = 0,
) -> Ranked:
    """Rank submissions.

    Args:
        paths: a table with the columns ``team``, ``dataset`` (or ``task``) and ``value``, the
            ``results.csv`` of ``aberra benchmark``, or folders of ``aberra mood score``, all of one
            task.
        out: folder of what is written; None writes nothing.
        against: another table, or other folders, whose order is compared with this one.
        datasets: only these; empty takes all. Of a benchmark they are called ``TASK/COHORT``.
        datasets_against: the same of ``against``.
        metric: of a benchmark's table, one of which more is better.
        replicates: of the bootstrap, which folders of scores have units for.
        seed: of the bootstrap.

    Raises:
        InputError: nothing can be ranked, folders are of two tasks, or a team is there twice.
        ManifestError: a table has problems.
        OutputError: ``out`` holds something else.
    """
    table, saved = _read(paths, metric)
    table, saved = _chosen(table, datasets), _chosen(saved, datasets)
    places = ranking(table)
    found = Ranked(places=places, notes=_missing(table))
    if against:
        found = Ranked(**vars(found) | _compared(table, _chosen(_read(against, metric)[0], datasets_against), replicates, seed))  # fmt: skip
    if saved:
        evidence, subclasses = _details(saved, places[0].team)
        teams = [place.team for place in places]
        found.stability.update(stability(evidence, teams, replicates=replicates, seed=seed))
        found.subclasses.update(subclasses)
        found = Ranked(**vars(found) | {"replicates": replicates})
    if out is not None:
        chosen = (
            [*datasets, *datasets_against, metric] if datasets or datasets_against or metric != "AP" else []
        )
        everything = [*map(str, paths), *map(str, against), replicates, seed, *chosen]
        other = "a ranking of something else is there; choose another --out"
        claim(out, "ranking", identity=config_hash(everything), other=other)
        _write(found, out)
    return found


def _compared(table: Values, other: Values, replicates: int, seed: int) -> dict[str, Any]:
    """What is known of two tables' orders."""
    rows = opposed(table, other)
    taus = agreement(table, other)
    interval = agreement_interval(rows, replicates=replicates, seed=seed)
    return {"agreement": taus, "opposed": rows, "interval": interval}


def _chosen(table: dict[str, T], wanted: Sequence[str]) -> dict[str, T]:
    """The data sets that are asked for; all where none is named, or there are none."""
    if not wanted or not table:
        return table
    expect_known("data set", wanted, table)
    return {name: table[name] for name in wanted}


def _read(paths: Sequence[Path], metric: str) -> tuple[Values, Saved]:
    """Data set to team to value; and the saved scores that they are from, if they are."""
    if len(paths) == 1 and paths[0].suffix.lower() in TABLES:
        return _table(paths[0], metric), {}
    contents = [_saved(folder) for folder in paths]
    tasks = sorted({content["task"] for content in contents})
    if len(tasks) > 1:
        raise InputError(f"scores of {len(tasks)} tasks ({', '.join(tasks)}); rank one task at a time")
    saved: Saved = {}
    for folder, content in zip(paths, contents, strict=True):
        teams = saved.setdefault(content["dataset"], {})
        if content["team"] in teams:
            raise InputError(
                f"{folder}: there are scores of {content['team']} on {content['dataset']} already; name it by `aberra mood score --team`"
            )
        teams[content["team"]] = content
    return {
        name: {team: content["value"] for team, content in teams.items()} for name, teams in saved.items()
    }, saved


def _saved(folder: Path) -> dict[str, Any]:
    path = folder / "score.json"
    with reading(path):
        try:
            content = dict(read_json(path))
            float(content["value"])
            _ = content["team"], content["dataset"], content["task"], content["cases"][0]["case"]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"{path}: damaged ({error}); run `aberra mood score` again") from error
    return content


def _of_benchmark(path: Path, metric: str) -> Values:
    """``results.csv`` of a benchmark: the mean over seeds of each row of the suite.

    Raises:
        ManifestError: the metric is not in it.
    """
    problems: list[str] = []
    _, rows = read_table(path, "label", problems)
    found: dict[str, dict[str, list[float]]] = {}
    for number, row in rows:
        if row["metric"] != metric or row["protocol"] not in {"", "oracle"} or not row["value"]:
            continue
        try:
            value = float(row["value"])
        except ValueError:
            problems.append(f"row {number}: value '{row['value'][:40]}' is not a number")
            continue
        team = " ".join(part for part in (row["label"], row["sweep"]) if part)
        found.setdefault(f"{row['task']}/{row['cohort']}", {}).setdefault(team, []).append(value)
    if not found and not problems:
        names = sorted({row["metric"] for _, row in rows})
        problems.append(f"no metric '{metric}'; there are {shortlist(names)}")
    if problems:
        raise ManifestError(path, problems)
    return {name: {team: fmean(values) for team, values in teams.items()} for name, teams in found.items()}


def _table(path: Path, metric: str) -> Values:
    problems: list[str] = []
    with reading(path), path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
    if set(BENCHMARK) <= set(head.strip().split(",")):
        return _of_benchmark(path, metric)
    columns, rows = read_table(path, "team", problems)
    over = next((name for name in ("dataset", "task") if name in columns), None)
    if over is None or "value" not in columns:
        raise ManifestError(path, ["row 1: expected the columns team, dataset and value"])
    found: Values = {}
    for number, row in rows:
        team, name, text = row.get("team", ""), row.get(over, ""), row.get("value", "")
        try:
            value = float(text) if text else 0.0
        except ValueError:
            value = float("nan")
        if not team or not name:
            problems.append(f"row {number}: no team or no {over}")
        elif not isfinite(value):
            problems.append(f"row {number}: value '{text[:40]}' is not a number")
        elif team in found.setdefault(name, {}):
            problems.append(f"row {number}: {team} is there twice on {name}")
        else:
            found[name][team] = value
    if problems:
        raise ManifestError(path, problems)
    return found


def _missing(table: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Teams that count as 0 somewhere."""
    teams = sorted({team for values in table.values() for team in values})
    return [
        f"{team} has no value on {name}, which counts as 0"
        for name, values in table.items()
        for team in teams
        if team not in values
    ]


def _details(saved: Saved, best: str) -> tuple[dict[str, Evidence], dict[str, list[dict[str, Any]]]]:
    """What the values are made of, and the rows by subclass."""
    try:
        evidence = {name: _evidence(name, teams) for name, teams in saved.items()}
        return evidence, _subclasses(saved, best)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{shortlist(saved)}: a score.json is damaged ({error}); run `aberra mood score` again"
        ) from error


def _evidence(name: str, teams: Mapping[str, dict[str, Any]]) -> Evidence:
    """Scans and their scores; of pixels the batches of the first pass and their AP."""
    alike = {
        str([content["settings"], *((row["case"], row["label"]) for row in content["cases"])])
        for content in teams.values()
    }
    if len(alike) > 1:
        raise InputError(
            f"{name}: scores of other cases, batches or seeds; score all teams with the same labels and options"
        )
    first = next(iter(teams.values()))
    if first["task"] == "sample":
        rows, key = {team: content["cases"] for team, content in teams.items()}, "score"
        units = [row["patient"] for row in first["cases"]]
        labels = np.array([row["label"] for row in first["cases"]], bool)
    else:
        rows = {
            team: [row for row in content["batches"] if row["pass"] == 1] for team, content in teams.items()
        }
        units, key, labels = [str(row["batch"]) for row in next(iter(rows.values()))], "ap", None
    entries = {team: np.array([row[key] for row in each], float) for team, each in rows.items()}
    return Evidence(units=units, entries=entries, labels=labels)


def _subclasses(saved: Saved, best: str) -> dict[str, list[dict[str, Any]]]:
    """Rows a data set; none of data sets without subclasses."""
    found = {}
    for name, teams in saved.items():
        own = {
            team: [row for row in content["groups"] if row["kind"] == "subclass"]
            for team, content in teams.items()
        }
        difficulty = {row["name"]: row["difficulty"] for rows in own.values() for row in rows}
        table = {team: {row["name"]: row["ap"] for row in rows} for team, rows in own.items()}
        if difficulty:
            found[name] = by_subclass(table, best, difficulty)
    return found


def _write(found: Ranked, out: Path) -> None:
    """Tables, figures and, last, ``ranking.json``."""
    from aberra.mood.curves import ranking_figures, slopes
    from aberra.mood.tables import agreement_lines, ranking_markdown

    rows = [row for place in found.places for row in place_rows(place)]
    write_text(out / "ranking.csv", csv_text(list(rows[0]), rows))
    if found.stability:
        columns = ["team", *(f"rank {place + 1}" for place in range(len(found.places)))]
        frequencies = [
            dict(zip(columns, (team, *counts), strict=True)) for team, counts in found.stability.items()
        ]
        write_text(out / "stability.csv", csv_text(columns, frequencies))
    several = [{"dataset": name} | row for name, rows in found.subclasses.items() for row in rows]
    if several:
        write_text(out / "subclasses.csv", csv_text(list(several[0]), several))
    if found.opposed:
        write_text(out / "against.csv", csv_text(list(found.opposed[0]), found.opposed))
    ranking_figures(out, found.stability, found.subclasses)
    if found.opposed:
        slopes(out, found.opposed, agreement_lines(found)[-1])
    write_text(out / "ranking.md", ranking_markdown(found))
    write_json(out / "ranking.json", asdict(found) | {"versions": versions()})


def place_rows(place: Place) -> list[dict[str, Any]]:
    """A team's row a data set."""
    shared = {"rank": place.rank, "team": place.team, "mean_rank": place.mean_rank}
    shared |= {"consensus_rank": place.consensus_rank, "consensus": place.consensus}
    return [
        shared | {"dataset": name, "value": value, "dataset_rank": place.ranks[name]}
        for name, value in place.values.items()
    ]
