from __future__ import annotations

import csv

import numpy as np
from study_rows import study

from aberra.benchmark.render import as_csv, as_html, as_latex, as_markdown
from aberra.benchmark.tables import comparison, false_positives, overview, write_tables
from aberra.metrics.bootstrap import interval

PATIENTS = {("flair", "ms-like"): 9, ("flair", "ms-like-shift"): 9}


def _table(seeds=1):
    rows, replicates, _ = study(seeds)
    return comparison(rows, replicates, task="flair", cohort="ms-like", patients=40, protocol="healthy-fpr-1")


def test_the_best_is_first_and_marked_and_ties_are_marked():
    table = _table()
    (best, cells), *others = table.rows
    assert best == "intensity"
    assert cells[0].best
    low, high = interval(study()[1]["flair", "ms-like", "intensity", 0])
    assert cells[0].text == f"0.500 [{low:.3f}, {high:.3f}]"
    values = [float(cells[0].text.split()[0]) for _, cells in table.rows]
    assert values == sorted(values, reverse=True)
    assert not any(cells[0].tied for _, cells in others)  # all others are clearly worse
    assert "Dice is at the threshold healthy-fpr-1" in table.caption
    assert "12 cases" in table.caption
    assert "1 seed" in table.caption


def test_a_caption_names_every_machine_and_the_first_and_last_date():
    rows, replicates, _ = study()
    rows[0] |= {"machine": "arm64, 8 cores, no GPU", "date": "2001-02-03"}
    table = comparison(
        rows, replicates, task="flair", cohort="ms-like", patients=40, protocol="healthy-fpr-1"
    )
    other = rows[1]
    assert table.caption.endswith(
        f"arm64, 8 cores, no GPU or {other['machine']}, 2001-02-03 to {other['date']}."
    )
    assert _table().caption.endswith(f"{other['machine']}, {other['date']}.")


def test_tables_of_several_versions_of_the_code_say_so():
    rows, replicates, _ = study()
    assert "versions" not in _table().caption + overview(rows, replicates, PATIENTS).caption
    rows[0]["commit"] = "c2+"
    table = comparison(
        rows, replicates, task="flair", cohort="ms-like", patients=40, protocol="healthy-fpr-1"
    )
    for each in (table, overview(rows, replicates, PATIENTS)):
        assert each.caption.endswith("Rows were measured by 2 versions of the code: c1, c2+.")


def test_the_dice_is_that_of_the_suites_protocol_and_undefined_columns_are_left_out():
    table = _table()
    column = table.header.index("Dice") - 1
    assert table.rows[0][1][column].text == "0.480"
    assert "case AUROC" not in table.header


def test_metrics_choose_the_columns_and_what_is_best_follows_their_sense():
    rows, replicates, _ = study()
    for label, value in (("intensity", 7.0), ("vae", 2.0)):
        first = next(row for row in rows if row["label"] == label)
        rows.append(
            first | {"metric": "false positives per scan", "protocol": "healthy-fpr-1", "value": value}
        )
    options = {"task": "flair", "cohort": "ms-like", "patients": 40, "protocol": "healthy-fpr-1"}
    chosen = ("Dice", "false positives per scan", "l1-RE_N", "case AUROC", "⌈Dice⌉")
    table = comparison(rows, replicates, **options, metrics=chosen)
    assert table.header[1:-3] == ("Dice", "false positives per scan", "l1-RE_N", "⌈Dice⌉ (oracle)")
    assert [name for name, _ in table.rows] == [name for name, _ in _table().rows]  # by AP, shown or not
    best = [[name for name, cells in table.rows if cells[at].best] for at in range(4)]
    assert best == [["intensity"], ["vae"], [], ["intensity"]]
    assert "Dice, false positives per scan are at the threshold healthy-fpr-1" in table.caption
    assert "†" not in table.caption
    assert list(csv.reader(as_csv(table).splitlines()))[1][-2:] == ["1", "0"]
    swapped = comparison(rows, replicates, **options, metrics=("AUROC", "AP"))
    marked = [int(row[-2]) for row in csv.reader(as_csv(swapped).splitlines()[1:])]
    assert marked == [1] + 19 * [0]  # of the AP, which is not the first column


def test_a_cohort_of_labels_alone_is_compared_by_case_auroc(tmp_path):
    rows = [row for row in study()[0] if (row["cohort"], row["metric"]) == ("ms-like", "AP")]
    rows = [row | {"metric": "case AUROC", "cohort": "xray", "prevalence": 0.0} for row in rows]
    options = {"task": "flair", "cohort": "xray", "patients": 0, "protocol": "healthy-fpr-1"}
    table = comparison(rows, {}, **options)
    assert table.header[:2] == ("method", "case AUROC")
    assert [name for name, _ in table.rows][:3] == ["intensity", "vae-restoration", "gmvae-restoration"]
    assert [name for name, cells in table.rows if cells[0].best] == ["intensity"]
    assert table.caption.startswith("12 cases, diseased by label, without lesion masks, 1 seed(s).")
    write_tables(tmp_path, rows, {}, {("flair", "xray"): 0}, protocol="healthy-fpr-1")
    assert "vae-restoration" in (tmp_path / "tables" / "flair-xray.md").read_text(encoding="utf-8")


def test_a_method_that_is_not_worse_is_tied():
    rows, replicates, _ = study()
    key = ("flair", "ms-like", "vae-restoration", 0)
    replicates[key] = replicates["flair", "ms-like", "intensity", 0] + 0.0
    table = comparison(
        rows, replicates, task="flair", cohort="ms-like", patients=40, protocol="healthy-fpr-1"
    )
    assert [name for name, cells in table.rows if cells[0].tied] == ["intensity", "vae-restoration"]
    assert "]†" in as_markdown(table).split("vae-restoration | 0.454 [")[1].split("|")[0]
    assert "†" in as_html(table)
    assert r"$^\dagger$" in as_latex(table)


def test_seeds_are_averaged_and_intervals_are_those_of_the_mean():
    table = _table(seeds=3)
    replicates = [study(3)[1]["flair", "ms-like", "intensity", seed] for seed in range(3)]
    low, high = interval(np.mean(replicates, axis=0))
    assert table.rows[0][1][0].text == f"0.501 [{low:.3f}, {high:.3f}]"
    assert "3 seed(s)" in table.caption


def test_renderings_hold_every_row_and_escape_what_they_must():
    table = _table()
    rows = list(csv.reader(as_csv(table).splitlines()))
    assert len(rows) == 21
    assert len({len(row) for row in rows}) == 1
    assert as_markdown(table).count("\n|") == 22
    assert "*intensity*" in as_markdown(table)
    latex = as_latex(table)
    assert "⌈" not in latex
    assert "%" not in latex.replace(r"\%", "")
    assert latex.count(r"\\") == 21
    assert "<b>" not in as_html(table.__class__("<b>", table.header, table.rows, table.caption))


def test_partial_trainings_are_not_in_the_tables():
    rows, replicates, _ = study()
    extra = [row | {"label": "vae · 10%", "subjects": 0.1} for row in rows if row["label"] == "vae"]
    table = comparison(
        rows + extra, replicates, task="flair", cohort="ms-like", patients=40, protocol="healthy-fpr-1"
    )
    assert "vae · 10%" not in [name for name, _ in table.rows]


def test_the_overview_ranks_rows_that_ran_everywhere():
    rows, replicates, _ = study()
    rows = [
        row
        for row in rows
        if not (row["label"] == "aae" or (row["label"] == "vae" and row["cohort"] == "ms-like"))
    ]
    table = overview(rows, replicates, PATIENTS)
    names = [name for name, _ in table.rows]
    assert names[0] == "intensity"
    assert "vae" not in names
    assert table.rows[0][1][-1].text == "1.0"


def _healthy():
    """Realised false-positive rates of two methods on a cohort of healthy cases."""
    first = study()[0][0] | {"cohort": "healthy", "metric": "healthy FPR", "cases": 40}
    return [
        first
        | {
            "label": label,
            "protocol": f"p ≤ {nominal:g}",
            "value": value,
            "low": value / 2,
            "high": 2 * value,
        }
        for label, value in (("vae", 0.05), ("dae", 0.1))
        for nominal in (0.01, 0.05)
    ]


def test_healthy_cases_have_a_table_of_realised_rates():
    table = false_positives(_healthy(), task="flair", cohort="healthy")
    assert table.header[:3] == ("method", "p ≤ 0.01", "p ≤ 0.05")
    assert [(name, cells[1].text) for name, cells in table.rows] == [
        ("vae", "0.050 [0.025, 0.100]"),
        ("dae", "0.100 [0.050, 0.200]"),
    ]
    assert "40 healthy cases" in table.caption


def test_a_training_whose_loss_still_fell_is_marked():
    rows, replicates, _ = study()
    for row in rows:
        row["late_gain"] = {"vae": 0.02, "dae": 0.005, "intensity": None}.get(row["label"], 0.0)
    table = comparison(
        rows, replicates, task="flair", cohort="ms-like", patients=40, protocol="healthy-fpr-1"
    )
    times = {name: cells[-3].text for name, cells in table.rows}
    assert times.pop("vae") == "60, undertrained"
    assert set(times.values()) == {"60"}
    assert "still fell by more than 1%" in table.caption
    assert "undertrained" not in _table().caption


def test_a_row_that_was_trained_too_short_is_ranked_nowhere():
    """The highest AP, of a row whose loss still fell, takes no bold, no tie, no rank and no place
    above the others.
    """
    rows, replicates, _ = study()
    for row in rows:
        row["late_gain"] = 0.05 if row["label"] == "vae" and row["cohort"] == "ms-like" else 0.0
        row["value"] = 0.99 if row["label"] == "vae" else row["value"]
    for seed_key in [key for key in replicates if key[2] == "vae"]:
        replicates[seed_key] = replicates[seed_key] * 0 + 0.99
    options = {"task": "flair", "patients": 40, "protocol": "healthy-fpr-1"}
    table = comparison(rows, replicates, cohort="ms-like", **options)
    assert (table.rows[0][0], table.rows[-1][0]) == ("intensity", "vae")
    assert not any(cell.best or cell.tied for cell in table.rows[-1][1])
    assert all(cell.best for cell in table.rows[0][1][:3])
    assert (
        comparison(rows, replicates, cohort="ms-like-shift", **options).rows[0][0] == "vae"
    )  # it is of this training
    whole = overview(rows, replicates, PATIENTS)
    (name, cells), first = whole.rows[-1], whole.rows[0]
    assert (name, cells[-1].text, any(cell.best for cell in cells)) == ("vae", "undertrained", False)
    assert (first[0], first[1][-1].text) == ("intensity", "1.0")
    assert "is not ranked" in whole.caption


def test_what_is_not_told_from_chance_has_a_sign_in_every_format():
    rows, replicates, _ = study()
    for cohort in ("ms-like", "ms-like-shift"):
        noise = replicates["flair", cohort, "random", 0]
        replicates["flair", cohort, "zmap", 0] = noise + 0.01
        for key in replicates:
            if key[1] == cohort and key[2] not in {"zmap", "random"}:
                replicates[key] = noise * 0 + 0.9
    options = {"task": "flair", "cohort": "ms-like", "patients": 40, "protocol": "healthy-fpr-1"}
    table = comparison(rows, replicates, **options)
    assert [name for name, cells in table.rows if cells[0].chance] == ["zmap"]
    assert "° not told from chance" in table.caption
    assert as_markdown(table).count("]°") == as_html(table).count("]°") == 1
    assert as_latex(table).count(r"$^\circ$ &") == 1
    assert [row[0] for row in csv.reader(as_csv(table).splitlines()) if row[-1] == "1"] == ["zmap"]
    whole = overview(rows, replicates, PATIENTS)
    assert [name for name, cells in whole.rows if all(cell.chance for cell in cells[:2])] == ["zmap"]
    assert "° not told from chance" in whole.caption


def test_the_bar_is_the_plain_thresholds_better_polarity():
    rows, replicates, _ = study()
    assert "its best as 'intensity' (0.500); of the rows that are no baseline, 0 of 17" in _table().caption
    dark = [row | {"label": "intensity, dark"} for row in rows if row["label"] == "intensity"]
    for row in rows:
        if row["label"] == "intensity":
            row["value"] = 0.01
    for row in dark:
        row["value"] = 0.42
    options = {"task": "flair", "cohort": "ms-like", "patients": 40, "protocol": "healthy-fpr-1"}
    table = comparison(rows + dark, replicates, **options)
    assert "its best as 'intensity, dark' (0.420); of the rows that are no baseline, 4 of 17" in table.caption


def test_all_formats_and_a_page_are_written(tmp_path):
    rows, replicates, _ = study()
    rows += _healthy()
    write_tables(tmp_path, rows, replicates, PATIENTS, protocol="healthy-fpr-1")
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    for ending in ("md", "csv", "tex", "html"):
        assert {f"flair-ms-like.{ending}", f"flair-ms-like-shift.{ending}", f"overview.{ending}"} <= names
        assert f"flair-healthy.{ending}" in names
    page = (tmp_path / "tables" / "index.html").read_text()
    assert page.count("<table>") == 4
    assert "http" not in page


def test_partial_trainings_alone_make_no_table(tmp_path):
    rows, _, _ = study()
    write_tables(tmp_path, [row | {"subjects": 0.1} for row in rows], {}, {}, protocol="healthy-fpr-1")
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["index.html"]


def test_the_dice_per_patient_stands_with_its_spread_and_is_compared_by_its_mean():
    rows, replicates, _ = study()
    for label, mean in (("intensity", 0.3), ("vae", 0.4)):
        first = next(row for row in rows if row["label"] == label)
        for metric, value in (("Dice per patient, mean", mean), ("Dice per patient, std", 0.1234)):
            rows.append(first | {"metric": metric, "protocol": "healthy-fpr-1", "value": value})
    metrics = ("AP", "Dice per patient, mean")
    options = {"task": "flair", "cohort": "ms-like", "patients": 40, "protocol": "healthy-fpr-1"}
    table = comparison(rows, replicates, **options, metrics=metrics)
    assert table.header[2] == "Dice per patient, mean ± std"
    cells = {name: cells[1] for name, cells in table.rows}
    assert (cells["vae"].text, cells["vae"].best) == ("0.400 ± 0.123", True)
    assert (cells["intensity"].text, cells["intensity"].best, cells["ae"].text) == (
        "0.300 ± 0.123",
        False,
        "",
    )
    assert r"$\pm$" in as_latex(table)
