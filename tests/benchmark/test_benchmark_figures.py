from __future__ import annotations

import numpy as np
from matplotlib.image import imread
from study_rows import study

from aberra.benchmark import drawing, figures, relations
from aberra.benchmark.rows import is_plain
from aberra.benchmark.statistics import data_sets
from aberra.method import Method, catalogue
from aberra.metrics.voxel import Residuals


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
        "subjects.png", "complexity.png", "ranking.png", "ap-flair.png", "shift-flair.png", "order-flair-ms-like.png",
        *(f"{kind}-flair-{cohort}.png" for kind in ("histograms", "fidelity", "correlation") for cohort in ("ms-like", "ms-like-shift")),
    }  # fmt: skip
    for path in drawn:
        assert imread(path).std() > 0.01


def test_a_method_has_the_same_marker_in_every_panel(monkeypatch, tmp_path):
    rows = [row for row in study()[0] if row["metric"] == "AP"]
    large = [
        row | {"label": f"{row['method']}, original network", "parameters": 3 * 10**7}
        for row in rows
        if (row["method"], row["cohort"])
        in {("vae", "ms-like"), ("gmvae", "ms-like"), ("gmvae", "ms-like-shift")}
    ]
    first, second = _drawn(monkeypatch, relations.complexity, tmp_path, rows + large).axes
    styles = [
        {line.get_label(): (line.get_marker(), line.get_color()) for line in axis.lines}
        for axis in (first, second)
    ]
    assert styles[0]["gmvae"] == styles[1]["gmvae"] != styles[0]["vae"]


def _swept(row, settings, value):
    told = ", ".join(f"{key.rpartition('.')[2]} {setting}" for key, setting in settings.items())
    sweep = ";".join(f"{key}={setting}" for key, setting in settings.items())
    return row | {"label": f"{row['label']} · {told}", "sweep": sweep, "value": value}


def test_a_sweep_is_a_line_for_each_other_setting_and_leaves_the_bars_alone(monkeypatch, tmp_path):
    rows, _, _ = study()
    there = [row for row in rows if row["cohort"] == "ms-like"]
    points = [
        _swept(row, {"score.start": start, "score.scale": scale}, 0.001 * scale / start)
        for row in there
        for start in (250, 500)
        for scale in (100, 10, 1)
        if row["method"] == "vae" and row["metric"] in {"AP", "⌈Dice⌉"}
    ]
    metrics = {"metrics": ("AP", "⌈Dice⌉", "AUROC"), "protocol": "healthy-fpr-1"}
    upper, lower = _drawn(monkeypatch, relations.sweep, tmp_path, there + points, "x", **metrics).axes
    for axis, metric in ((upper, "AP"), (lower, "⌈Dice⌉")):  # no swept row has an AUROC
        lines = {
            line.get_label(): list(line.get_ydata()) for line in axis.lines if len(line.get_ydata()) == 3
        }
        assert set(lines) == {"start 250", "start 500"}
        np.testing.assert_allclose(lines["start 250"], [0.001 * scale / 250 for scale in (1, 10, 100)])
        assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_xscale()) == ("scale", metric, "log")
    assert [text.get_text() for text in upper.texts] == ["vae", "intensity"]
    assert [text.get_text() for text in lower.texts] == ["vae"]
    assert relations.sweep(tmp_path, there, "x", **metrics) is None
    drawn = figures.write_figures(tmp_path, there + points, {})
    assert {path.name for path in drawn} - {
        path.name for path in figures.write_figures(tmp_path, there, {})
    } == {"sweep-flair-ms-like.png"}
    assert drawing.ordered([row for row in there + points if is_plain(row)]) == drawing.ordered(there)


def test_every_swept_setting_has_a_panel_and_every_method_a_line_in_it(monkeypatch, tmp_path):
    rows = [row for row in study()[0] if row["cohort"] == "ms-like" and row["metric"] == "AP"]
    points = [
        _swept(row, {key: value}, 0.1 + place)
        for row in rows
        for key, values in (("model.latent", (16, 4)), ("score.compare.mode", ("positive", "absolute")))
        for place, value in enumerate(values)
        if row["method"] in {"vae", "ae"}
    ]
    figure = _drawn(monkeypatch, relations.sweep, tmp_path, rows + points, "x", metrics=("AP",), protocol="")
    latent, mode = figure.axes
    own = {line.get_label(): line for line in latent.lines if not line.get_label().startswith("_")}
    assert set(own) == {"vae", "ae"}
    assert (list(own["ae"].get_xdata()), list(own["ae"].get_ydata())) == ([4, 16], [1.1, 0.1])
    assert own["ae"].get_color() != own["vae"].get_color()
    assert [tick.get_text() for tick in mode.get_xticklabels()] == ["positive", "absolute"]
    assert [text.get_text() for text in latent.texts] == ["intensity"]  # which of the methods would it be?


def test_subjects_are_points_of_every_method_at_their_ap(monkeypatch, tmp_path):
    rows = study(2)[0]
    fewer = [
        row
        | {
            "label": f"{row['method']} · {share:.0%} of subjects",
            "subjects": share,
            "value": share * row["value"],
        }
        for row in rows
        for share in (0.1, 0.5)
        if row["method"] in {"vae", "ae"}
    ]
    swept = [_swept(row, {"model.latent": 4}, 0.99) for row in rows if row["method"] == "vae"]
    figure = _drawn(monkeypatch, figures.subjects, tmp_path, rows + fewer + swept)
    axis = figure.axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["ae", "vae"]
    points = [line for line in axis.lines if line.get_marker() == "o"]
    assert len(points) == 2 * 3
    vae = sorted(float(line.get_xdata()[0]) for line in points if line.get_ydata()[0] > 0.5)
    np.testing.assert_allclose(vae, [0.3995 * share for share in (0.1, 0.5, 1.0)])
    spans = [np.ptp(line.get_xdata()) for line in axis.lines if line.get_marker() != "o"]
    np.testing.assert_allclose(sorted(spans), sorted([0.0001, 0.0005, 0.001] * 2))  # of two seeds
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [f"{share}% of the training subjects" for share in (10, 50, 100)]


def test_ranks_are_of_methods_that_all_cohorts_have(monkeypatch, tmp_path):
    rows = [row for row in study()[0] if row["label"] in {"ae", "vae", "fanogan", "random"}]
    rows = [row for row in rows if (row["label"], row["cohort"]) != ("fanogan", "ms-like-shift")]
    for row in rows:  # better than the VAE on the shifted cohort only
        if (row["label"], row["cohort"], row["metric"]) == ("ae", "ms-like-shift", "AP"):
            row["value"] = 0.9
    (axis,) = _drawn(monkeypatch, relations.ranking, tmp_path, rows).axes
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["ae  1.5", "vae  1.5", "random  3.0"]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["flair: ms-like", "flair: ms-like-shift"]
    assert [text.get_text() for text in axis.texts] == ["2", "1", "1", "2", "3", "3"]
    assert relations.ranking(tmp_path, [row for row in rows if row["cohort"] == "ms-like"]) is None


def test_orders_are_of_every_metric_that_a_publication_has_and_small_errors_come_first(monkeypatch, tmp_path):
    tables = data_sets()["HCP, objects"]
    common = study()[0][0]
    rows = [
        common
        | {"method": "vae", "label": label, "metric": relations.OURS.get(metric, metric), "value": value}
        for metric, table in tables.items()
        for label, value in table.items()
    ]
    drawn = relations.orders(tmp_path, rows, "x", "HCP, objects")
    assert [path.name for path in drawn] == [
        "order-x-l1-RE_N.png", "order-x-slice-AUROC.png", "order-x-slice-AP.png"
    ]  # fmt: skip
    figure = _drawn(monkeypatch, relations.order, tmp_path, rows, "x", "HCP, objects", "MSE")
    (axis,) = figure.axes
    places = {text.get_text(): text.xy for text in axis.texts}
    assert places["low-vae"] == (1, 1)
    assert places["high-vae"] == (5, 5)
    assert "τ = 1.00" in axis.get_title(loc="left")


def test_nothing_is_drawn_without_data(tmp_path):
    rows, _, _ = study()
    whole = [row for row in rows if row["cohort"] == "ms-like"]
    assert figures.subjects(tmp_path, rows) is None
    assert relations.complexity(tmp_path, rows) is None
    assert figures.domain_shift(tmp_path, whole, "flair") is None
    assert figures.ap_points(tmp_path, [row for row in whole if row["metric"] != "AP"], "flair") is None
    assert (
        relations.order(tmp_path, [row for row in whole if row["label"] in {"vae", "ae"}], "x", "D_MS")
        is None
    )
    assert not (tmp_path / "figures").exists()


def _drawn(monkeypatch, draw, *arguments, **options):
    """The matplotlib figure that would be saved."""
    saved = []
    monkeypatch.setattr(drawing, "save", lambda figure, path: saved.append(figure) or path)
    draw(*arguments, **options)
    return saved[0] if saved else None


def test_an_original_network_is_drawn_without_its_unified_row_too(monkeypatch, tmp_path):
    rows, _, _ = study()
    for row in rows:
        if row["method"] == "gmvae":
            row["label"] = "gmvae, original network"
    (axis,) = _drawn(monkeypatch, relations.complexity, tmp_path, rows[: len(rows) // 2]).axes
    assert [text.get_text() for text in axis.get_legend().get_texts()] == [
        "others, unified network",
        "gmvae",
    ]


def test_a_grid_is_drawn_as_score_against_model(monkeypatch, tmp_path):
    rows, _, _ = study()
    row = next(row for row in rows if row["metric"] == "AP")
    cells = [("vae", "kl", 0.25), ("vae", "rec", 0.5), ("ae", "rec", 0.125)]
    grid = [
        row | {"method": method, "label": f"{method} · {score}", "value": value, "metric": metric}
        for method, score, value in cells
        for metric in ("AP", "slice AUROC, matched by position")
    ]
    figure = _drawn(monkeypatch, relations.score_grid, tmp_path, [*rows, *grid], "flair")
    first = figure.axes[0]
    chance = figure.axes[2].images[0]
    assert chance.get_clim() == (0.0, 1.0)  # the middle of a diverging map
    np.testing.assert_allclose(chance.cmap(chance.norm(0.5))[:3], 1, atol=0.05)
    at = {(text.get_position()[0], text.get_position()[1]): text.get_text() for text in first.texts}
    assert at == {(0, 0): "0.250", (0, 1): "0.500", (1, 1): "0.125"}
    assert [each.get_text() for each in first.get_xticklabels()] == ["vae", "ae"]
    assert [each.get_text() for each in first.get_yticklabels()] == ["kl", "rec"]
    assert _drawn(monkeypatch, relations.score_grid, tmp_path, rows, "flair") is None
    healthy = [row | {"metric": "healthy FPR"} for row in grid]
    assert _drawn(monkeypatch, relations.score_grid, tmp_path, healthy, "flair") is None


def test_histograms_have_the_shape_of_the_values_not_of_the_bins_they_were_counted_in(monkeypatch, tmp_path):
    values = np.exp(np.random.default_rng(0).normal(-3, 0.8, 200_000)).astype(np.float32)
    residuals = Residuals()
    residuals.add(values, np.arange(values.size) % 2 == 0)
    figure = _drawn(monkeypatch, figures.residual_histograms, tmp_path, {"vae": residuals.bins()}, "x")
    normal = figure.axes[0].patches[0].get_data()
    true, _ = np.histogram(values[1::2], normal.edges)
    middle = slice(2, 25)
    assert (true[middle] > 500).all()
    np.testing.assert_allclose(normal.values[middle], true[middle] / (values.size / 2), rtol=0.15)


def test_a_random_map_does_not_look_as_if_it_told_the_classes_apart(monkeypatch, tmp_path):
    """Zeros, which are left out, are nine in ten of the normal voxels and none of the anomalous
    ones.
    """
    rng = np.random.default_rng(0)
    values, anomalous = rng.random(100_000).astype(np.float32), np.arange(100_000) % 2 == 0
    values[~anomalous & (rng.random(100_000) < 0.9)] = 0
    residuals = Residuals()
    residuals.add(values, anomalous)
    figure = _drawn(monkeypatch, figures.residual_histograms, tmp_path, {"random": residuals.bins()}, "x")
    normal, sick = (patch.get_data().values for patch in figure.axes[0].patches)
    np.testing.assert_allclose(normal, sick, atol=0.02)
    assert [text.get_text() for text in figure.axes[0].texts] == ["90% zero", "0% zero"]


def test_maps_that_are_zero_everywhere_have_no_histogram(tmp_path):
    zero = {"edges": [0.0], "normal": [9.0], "anomalous": [3.0]}
    assert figures.residual_histograms(tmp_path, {"constant": zero}, "x") is None


def test_a_method_that_failed_on_the_first_cohort_keeps_its_other_points(monkeypatch, tmp_path):
    rows, _, _ = study()
    rows = [row for row in rows if (row["label"], row["cohort"]) != ("vae", "ms-like")]
    figure = _drawn(monkeypatch, figures.ap_points, tmp_path, rows, "flair")
    assert "vae" in [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    first, second = (len(axis.collections) for axis in figure.axes)
    assert (first, second) == (19, 20)


def test_intervals_of_one_seed_are_not_drawn_at_the_mean_of_several(monkeypatch, tmp_path):
    for seeds, title in ((1, "95 % intervals"), (2, "mean of 2 seeds")):
        rows, _, _ = study(seeds)
        figure = _drawn(monkeypatch, figures.ap_points, tmp_path, rows, "flair")
        monkeypatch.undo()
        intervals = [line for line in figure.axes[0].lines if len(set(line.get_ydata())) == 1]
        assert len(intervals) == (20 if seeds == 1 else 0)
        assert title in figure.get_suptitle()


def test_a_family_has_one_colour_everywhere_and_a_foreign_one_has_its_own():
    rows = [
        {"label": label, "family": family}
        for label, family in (("mine", "transformers"), ("vae", "variational"))
    ]
    colours = drawing.colours(rows)
    assert colours["vae"] == drawing.FAMILIES["variational"]
    assert colours["mine"] in drawing.SPARE
    assert drawing.colours([{"label": "old"}]) == {"old": drawing.MUTED}
    for name in catalogue():
        assert Method.load(name).family in drawing.FAMILIES, name


def test_colours_are_explained(monkeypatch, tmp_path):
    rows, _, _ = study()
    for draw in (figures.ap_points, figures.domain_shift):
        (legend,) = _drawn(monkeypatch, draw, tmp_path, rows, "flair").legends
        monkeypatch.undo()
        assert {text.get_text() for text in legend.get_texts()} == {row["family"] for row in rows}


def test_fidelity_is_of_maps_that_are_differences_of_images_only(monkeypatch, tmp_path):
    rows = [row for row in study()[0] if row["cohort"] == "ms-like"]
    figure = _drawn(monkeypatch, relations.fidelity, tmp_path, rows, "x")
    # 17 of the study and 3 baselines, without those and the gradient
    assert "n = 16" in figure.axes[0].get_title(loc="left")


def test_a_training_that_was_too_short_is_marked_in_figures_and_has_no_place_in_the_order(
    monkeypatch, tmp_path
):
    rows = [row for row in study()[0] if row["cohort"] == "ms-like"]
    for row in rows:
        row["late_gain"] = 0.05 if row["label"] == "vae" else 0.0
    axis = _drawn(monkeypatch, figures.ap_points, tmp_path, rows, "flair").axes[0]
    monkeypatch.undo()
    assert [name.get_text() for name in axis.get_yticklabels() if "undertrained" in name.get_text()] == [
        "vae, undertrained"
    ]
    (axis,) = _drawn(monkeypatch, relations.order, tmp_path, rows, "x", "D_MS").axes
    assert "n = 16" in axis.get_title(loc="left")
    assert "vae" not in {text.get_text() for text in axis.texts}


def test_the_line_of_the_plain_threshold_is_that_of_its_better_polarity(monkeypatch, tmp_path):
    rows = [row for row in study()[0] if row["cohort"] == "ms-like"]
    dark = [
        row | {"label": "intensity, dark", "value": 0.75}
        for row in rows
        if row["label"] == "intensity" and row["metric"] == "AP"
    ]
    axis = _drawn(monkeypatch, figures.ap_points, tmp_path, rows + dark, "flair").axes[0]
    names = {text.get_text() for text in axis.get_legend().get_texts()}
    assert {"intensity, dark 0.750", "chance"} <= names
