from __future__ import annotations

from matplotlib.image import imread
from study_rows import study

from aberra.benchmark import figures


def test_every_figure_that_the_rows_have_data_for_is_drawn(tmp_path):
    rows, _, histograms = study()
    extra = [
        row | {"label": f"{row['method']}, {share:.0%}", "subjects": share, "value": row["value"] * share}
        for row in rows
        for share in (0.1, 0.5)
        if row["method"] == "vae"
    ]
    large = [
        row | {"label": f"{row['method']}, original network", "parameters": 3 * 10**7}
        for row in rows
        if row["method"] in {"vae", "fanogan"}
    ]
    drawn = figures.write_figures(
        tmp_path, rows + extra + large, histograms, compare={"flair": {"ms-like": "D_MS"}}
    )
    names = {path.name for path in drawn}
    assert names == {
        "subjects.png", "complexity.png", "ap-flair.png", "shift-flair.png", "order-flair-ms-like.png",
        *(f"{kind}-flair-{cohort}.png" for kind in ("histograms", "fidelity", "correlation") for cohort in ("ms-like", "ms-like-shift")),
    }  # fmt: skip
    for path in drawn:
        assert imread(path).std() > 0.01


def test_nothing_is_drawn_without_data(tmp_path):
    rows, _, _ = study()
    whole = [row for row in rows if row["cohort"] == "ms-like"]
    assert figures.subjects(tmp_path, rows) is None
    assert figures.complexity(tmp_path, rows) is None
    assert figures.domain_shift(tmp_path, whole, "flair") is None
    assert figures.ap_bars(tmp_path, [row for row in whole if row["metric"] != "AP"], "flair") is None
    assert (
        figures.order(tmp_path, [row for row in whole if row["label"] in {"vae", "ae"}], "x", "D_MS") is None
    )
    assert not (tmp_path / "figures").exists()
