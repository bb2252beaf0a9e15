"""Tables or folders of scores into a ranking with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aberra.cohort.table import SUFFIXES as TABLES
from aberra.cohort.table import read_table
from aberra.errors import InputError, ManifestError, shortlist
from aberra.files import config_hash, csv_text, read_json, reading, write_json, write_text
from aberra.mood.ranking import Evidence, Place, agreement, by_subclass, ranking, stability
from aberra.options import Within, configured
from aberra.output import claim
from aberra.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping

Saved = dict[str, dict[str, dict[str, Any]]]
"""Data set to team to what ``score.json`` holds."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A ranking and what is known of it.

    Attributes:
        places: the teams, best first.
        agreement: data set to τ-b with the second table and the number of teams; empty without.
        stability: team to how often it had each rank in the bootstrap; empty of a table of values.
        replicates: of the bootstrap.
        subclasses: data set to rows of :func:`aberra.mood.ranking.by_subclass`.
        notes: what a reader must know.
    """

    places: list[Place]
    agreement: dict[str, tuple[float, int]] = field(default_factory=dict)
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
    replicates: Annotated[int, Within(1, 1_000_000)] = 1000,
    seed: int = 0,
) -> Ranked:
    """Rank submissions.

    Args:
        paths: a table with the columns ``team``, ``dataset`` (or ``task``) and ``value``, or folders
            of ``aberra mood score``, all of one task.
        out: folder of what is written; None writes nothing.
        against: another table, or other folders, whose order is compared with this one.
        replicates: of the bootstrap, which folders of scores have units for.
        seed: of the bootstrap.

    Raises:
        InputError: nothing can be ranked, folders are of two tasks, or a team is there twice.
        ManifestError: a table has problems.
        OutputError: ``out`` holds something else.
    """
    table, saved = _read(paths)
    places = ranking(table)
    found = Ranked(places=places, notes=_missing(table))
    if against:
        found.agreement.update(agreement(table, _read(against)[0]))
    if saved:
        evidence, subclasses = _details(saved, places[0].team)
        teams = [place.team for place in places]
        found.stability.update(stability(evidence, teams, replicates=replicates, seed=seed))
        found.subclasses.update(subclasses)
        found = Ranked(**vars(found) | {"replicates": replicates})
    if out is not None:
        everything = [*map(str, paths), *map(str, against), replicates, seed]
        other = "a ranking of something else is there; choose another --out"
        claim(out, "ranking", identity=config_hash(everything), other=other)
        _write(found, out)
    return found


def _read(paths: Sequence[Path]) -> tuple[dict[str, dict[str, float]], Saved]:
    """Data set to team to value; and the saved scores that they are from, if they are."""
    if len(paths) == 1 and paths[0].suffix.lower() in TABLES:
        return _table(paths[0]), {}
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


def _table(path: Path) -> dict[str, dict[str, float]]:
    problems: list[str] = []
    columns, rows = read_table(path, "team", problems)
    over = next((name for name in ("dataset", "task") if name in columns), None)
    if over is None or "value" not in columns:
        raise ManifestError(path, ["row 1: expected the columns team, dataset and value"])
    found: dict[str, dict[str, float]] = {}
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
    from aberra.mood.curves import ranking_figures
    from aberra.mood.tables import ranking_markdown

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
    ranking_figures(out, found.stability, found.subclasses)
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
