"""Lesion or scanner, on real healthy brains: the same anatomy with and without planted lesions, with
and without a shift, through a shipped detector.

    python benchmarks/audit.py --data DATA/ixi --work FOLDER [--brains 20] [--shifts contrast,noise]
        [--out benchmarks/results/audit.csv]

What is computed is kept in FOLDER (a JSON line a scan), so that a run goes on where it was stopped;
`--part 0/3` does a third of the brains, for several processes. The shift score takes a tenth of a
second a scan, the detector five.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from table import save

if TYPE_CHECKING:
    from aberra.cohort import Case
    from aberra.volume import Volume

PROFILES = ("ms", "wmh", "tumour", "stroke", "haemorrhage", "fcd", "generic")
SEED = 21
SEVERITY = 0.5
LEVEL = 0.05
DRAWS = 200
ADAPT = (0, 5, 10)
NONE = "none"


def main() -> None:
    """Compute what is missing, then print and save the tables."""
    from aberra.audit.pairs import CONTROLLED
    from aberra.cohort import Cohort

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of manifest.csv, as shared/data/ixi")
    parser.add_argument("--work", type=Path, required=True, help="what is computed is kept here")
    parser.add_argument("--model", default="t1")
    parser.add_argument("--brains", type=int, default=20)
    parser.add_argument("--shifts", default=",".join(CONTROLLED), help="those that the detector looks at")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cohort = Cohort.read(options.data / "manifest.csv")
    reference = list(cohort.select(split="val"))
    healthy = list(cohort.select(split="test"))[: options.brains]
    sick = planted(healthy, options.work / "planted")
    options.work.mkdir(parents=True, exist_ok=True)
    compute(options, reference, healthy, sick)
    rows = tables(read(options.work), [NONE, *CONTROLLED])
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items() if value != ""))
    save(rows, options.out)


def planted(healthy: list[Case], folder: Path) -> dict[str, Case]:
    """The same brains with lesions of the seven diseases in turn, painted by their tissue maps."""
    from aberra.cohort import Cohort
    from aberra.synthesis import lesion_cohort

    drawn: dict[str, Any] = {"lesions": 1.0, "seed": SEED, "profiles": PROFILES, "workers": 1}
    made = Cohort.read(lesion_cohort(Cohort(healthy, "ixi"), folder, progress=False, **drawn))
    # the first case of the folder is the first brain: both are in order
    return {case.case: replace(copy, case=case.case) for case, copy in zip(healthy, made, strict=True)}


def read(work: Path) -> dict[tuple[str, int, str, int], dict[str, Any]]:
    """What is kept of each scan, by part, brain, shift and lesion."""
    found: dict[tuple[str, int, str, int], dict[str, Any]] = {}
    for path in sorted(work.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            part, brain, shift, lesion = row.pop("key")
            found.setdefault((part, brain, shift, lesion), {}).update(row)
    return found


def compute(
    options: argparse.Namespace, reference: list[Case], healthy: list[Case], sick: dict[str, Case]
) -> None:
    """Features of every scan, then the detector's score of those of the shifts asked for."""
    import torch

    from aberra.audit.features import shift_features
    from aberra.audit.pairs import CONTROLLED, shifted
    from aberra.audit.shift import moved_by_lesions
    from aberra.detector import Detector

    torch.set_num_threads(1)
    number, parts = map(int, options.part.split("/"))
    known = read(options.work)
    keys: list[tuple[str, int, str, int]] = [("ref", brain, NONE, 0) for brain in range(len(reference))]
    keys += [
        ("test", brain, shift, lesion)
        for brain, shift, lesion in product(range(len(healthy)), (NONE, *CONTROLLED), (0, 1))
    ]
    keys = [key for key in keys if key[1] % parts == number]

    def scan(key: tuple[str, int, str, int]) -> Volume:
        part, brain, shift, lesion = key
        case = (reference if part == "ref" else healthy)[brain]
        volume = (sick[case.case] if lesion else case).read(["t1"]).with_(mask=None, lesion=None, kinds=None)
        return volume if shift == NONE else shifted(shift, volume, severity=SEVERITY, case=brain)

    with (options.work / f"part{number}.jsonl").open("a", encoding="utf-8") as file:

        def keep(key: tuple[str, int, str, int], **row: Any) -> None:
            file.write(json.dumps({"key": key, **row}) + "\n")
            file.flush()

        for key in keys:
            row = known.get(key, {})
            if not {"features", "brightness"} <= row.keys():
                volume = scan(key)
                x = volume.data[volume.data != 0]
                trivial = float(np.abs(x / np.median(x) - 1).mean())
                keep(key, features=shift_features(volume).tolist(), brightness=trivial)
            if key[0] == "ref" and not key[1] % 2 and "moved" not in row:
                keep(key, moved=moved_by_lesions(scan(key), [0, key[1]], 3).tolist())
        wanted = {NONE, *options.shifts.split(",")}
        missing = [key for key in keys if "score" not in known.get(key, {}) and key[2] in wanted]
        if missing:
            detector = Detector.load(options.model, device="cpu")
            for key in sorted(missing, key=lambda key: (key[0] == "ref", key[1])):
                keep(key, score=detector.analyse(scan(key)).score)


def tables(found: dict[tuple[str, int, str, int], dict[str, Any]], shifts: list[str]) -> list[dict[str, Any]]:
    """A row for each shift and score; ``raised`` is the share of brains whose score rises by the
    lesion, all else being equal, ``not trusted`` of the scans, healthy and lesional.
    """
    from aberra.audit.features import feature_names
    from aberra.audit.measures import entanglement
    from aberra.audit.shift import ShiftScore
    from aberra.metrics.case import auroc

    own = sorted(key for key in found if key[0] == "ref")
    features = np.stack([found[key]["features"] for key in own])
    moved = np.concatenate([found[key]["moved"] for key in own if "moved" in found[key]])
    score = ShiftScore.of(features, moved, feature_names(["t1"]))
    for row in found.values():
        row["shift"] = score(row["features"])

    def area(positive: list[float], negative: list[float]) -> float | None:
        return auroc([*positive, *negative], [1] * len(positive) + [0] * len(negative))

    rows = []
    for name in ("shift", "brightness", "score"):

        def values(shift: str, lesion: int, brains: list[int], name: str = name) -> list[float]:
            return [found["test", brain, shift, lesion][name] for brain in brains]

        for shift in shifts:
            needed = [("test", shift, lesion) for lesion in (0, 1)] + [
                ("test", NONE, lesion) for lesion in (0, 1)
            ]
            brains = [
                brain
                for brain in sorted({key[1] for key in found if key[0] == "test"})
                if all(name in found.get((part, brain, other, lesion), {}) for part, other, lesion in needed)
            ]
            if len(brains) < 2:
                continue
            plain, sick = values(NONE, 0, brains), values(NONE, 1, brains)
            moved_plain, moved_sick = values(shift, 0, brains), values(shift, 1, brains)
            within, alarm = area(moved_sick, moved_plain), area(moved_plain, plain)
            flags = [found["test", brain, shift, lesion]["shift"] for brain in brains for lesion in (0, 1)]
            row: dict[str, Any] = {
                "score": name,
                "shift": shift,
                "brains": len(brains),
                "unshifted": area(sick, plain),
                "within": within,
                "across": area([*sick, *moved_sick], [*plain, *moved_plain]),
                "healthy shifted": alarm,
                "lesional shifted": area(moved_sick, plain),
                "entanglement": entanglement(within, alarm),
                "raised": float(np.mean([a > b for a, b in zip(moved_sick, moved_plain, strict=True)])),
                "not trusted": float(np.mean([score.p_value(value) <= LEVEL for value in flags])),
            }
            for count in ADAPT:
                found_by = None if name == "shift" else adapted(values, shift, brains, count)
                row[f"across, {count} healthy"] = found_by
            rows.append(
                {
                    key: "" if value is None else round(value, 3) if isinstance(value, float) else value
                    for key, value in row.items()
                }
            )
    return rows


def adapted(values: Any, shift: str, brains: list[int], count: int) -> float | None:
    """AUROC across the shift of scores over mean and spread of ``count`` healthy scans of the other
    site, drawn from other brains than the case's; the mean of many draws. 0: of the reference's site.
    """
    from aberra.audit.measures import adjusted
    from aberra.metrics.case import auroc

    if shift == NONE or count >= len(brains):
        return None
    here, there = (np.array(values(site, 0, brains)) for site in (NONE, shift))
    cases = [
        (place, site, lesion, values(site, lesion, [brain])[0])
        for place, brain in enumerate(brains)
        for site in (NONE, shift)
        for lesion in (0, 1)
    ]
    areas = []
    for draw in range(DRAWS if count else 1):
        rng = np.random.default_rng([SEED, draw])
        found = []
        for place, site, _, value in cases:
            others = np.delete(np.arange(len(brains)), place)
            pool = here[others]
            given = there[rng.permutation(others)[:count]]
            near = given if count and site == shift else pool
            found.append(adjusted(value, near, np.concatenate([pool, given])))
        areas.append(auroc(found, [lesion for *_, lesion, _ in cases]))
    return float(np.mean(areas))


if __name__ == "__main__":
    main()
