from __future__ import annotations

from fnmatch import fnmatch

import pytest
import torch

from aberra.benchmark.cohorts import MissingDataError, materialise
from aberra.benchmark.rows import METRICS
from aberra.benchmark.suite import Suite, shipped
from aberra.errors import ConfigError
from aberra.files import config_hash
from aberra.method import Method, catalogue
from aberra.registry import build, lookup
from aberra.scores import SmoothedScore, answers

MINIMAL = """
[cohorts.a]
phantom = { cases = 2, seed = 1 }
[cohorts.b]
phantom = { cases = 2, seed = 2 }
[tasks.t]
train = "a"
validation = "b"
test = ["b"]
"""


def _suite(tmp_path, text, overrides=None):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return Suite.load(path, overrides)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_suites_load_and_all_their_methods_can_be_built(name):
    suite = Suite.load(name)
    for task in suite.tasks:
        entries = suite.entries(task)
        sides = {
            entry.label: suite.method(task, entry).model["polarity"]
            for entry in entries
            if entry.name == "intensity" and not entry.sweep
        }
        assert sides == {"intensity": "bright", "intensity, dark": "dark", "intensity, two-sided": "both"}
        assert {"zmap", "random"} <= {entry.label for entry in entries}
        for entry in entries:
            if not entry.detector:
                method = suite.method(task, entry)
                assert answers(lookup("models", method.model["name"]), SmoothedScore.of(method.score).score)


def test_smoke_has_every_method_of_the_catalogue():
    suite = Suite.load("smoke")
    assert {entry.name for entry in suite.methods} == set(catalogue())


def test_the_rows_on_real_brains_are_two_sided_where_they_do_not_say_otherwise():
    suite = Suite.load("ixi")
    (task,) = suite.tasks
    sides = {"dark": "negative", "bright": "positive"}
    for entry in suite.entries(task):
        if entry.detector:
            continue
        method = suite.method(task, entry)
        assert "nonzero" in str(method.prepare)
        named = next((sides[word] for word in sides if word in entry.label), "absolute")
        assert method.score.get("mode", named) == named
        if method.model["name"] == "intensity":
            side = {"dark": "dark", "two-sided": "both"}.get(entry.label.rpartition(", ")[2], "bright")
            assert method.model["polarity"] == side


def test_the_studys_seventeen_rows_are_in_its_suite():
    from aberra.benchmark.statistics import published

    labels = {entry.label for entry in Suite.load("baur2021").methods}
    rows = set(published()["baur2021"]["AUPRC"]["D_MS"])
    assert len(rows) == 17
    assert rows <= labels


def test_the_hierarchies_are_the_thesis_rows_with_codes_alike_and_slightly_more_weights():
    from aberra.benchmark.statistics import data_sets

    suite = Suite.load("zimmerer-hierarchy")
    (task,) = suite.tasks
    tables = data_sets()[task.compare["planted"]]
    assert set(tables) == {"MSE", "slice AUROC", "slice AP"}
    entries = {entry.label: entry for entry in suite.entries(task)}
    assert all(set(table) <= entries.keys() for table in tables.values())
    for label in tables["slice AP"]:
        plain = entries[label.removesuffix(", ELBO")]
        rows = [suite.method(task, each) for each in (entries[label], plain)]
        assert rows[0].learnt == rows[1].learnt, label
    counts, codes = {}, {}
    for label in tables["MSE"]:
        config = suite.method(task, entries[label]).model
        counts[label] = _parameters(config, size=(96, 80))
        codes[label] = 6 * 5 * config.get("high", 0) + 24 * 20 * config.get("low", 0)
    assert {codes[label] for label in codes if label != "vqvae2"} == {960}
    whole = counts.pop("pchvae")
    assert all(1 < count / whole < 1.1 for count in counts.values())


def test_head_ct_has_the_thesis_rows_and_heads_of_other_people_in_every_cohort():
    from aberra.benchmark.statistics import data_sets

    suite = Suite.load("venkatakrishnan-ct")
    (task,) = suite.tasks
    tables = data_sets()[task.compare["mixed"]]
    labels = {entry.label for entry in suite.entries(task)}
    assert len(tables) == 5
    assert set(tables) <= set(METRICS)
    assert all(set(table) <= labels for table in tables.values())
    heads = {name: suite.cohorts[name].phantom["anatomy"] for name in ("train", "val", "healthy")}
    names = [f"anatomy/anat{number:02d}" for number in range(1, 41)]
    found = [{name for name in names if fnmatch(name, pattern)} for pattern in heads.values()]
    assert [len(each) for each in found] == [19, 10, 11]
    assert set.union(*found) == set(names)
    assert suite.cohorts["mixed"].phantom["anatomy"] == heads["healthy"]
    for entry in suite.entries(task):
        assert suite.method(task, entry).prepare["mask"] == "ct"


def test_label_maps_are_of_the_data_folder(tmp_path):
    suite = _suite(tmp_path, MINIMAL.replace("seed = 1", 'seed = 1, contrast = "ct", anatomy = "maps/a*"'))
    for data in (None, tmp_path):
        with pytest.raises(MissingDataError, match="--data"):
            materialise(suite, "a", tmp_path / "out", data, progress=False)


def test_orders_are_compared_on_cohorts_and_with_data_sets_that_there_are(tmp_path):
    with pytest.raises(ConfigError, match=r"cohort in .*tasks\.t\.compare: 'a'"):
        _suite(tmp_path, MINIMAL + 'compare = { "a" = "D_MS" }\n')
    with pytest.raises(ConfigError, match=r"data set in .*'D_M'.*D_MS"):
        _suite(tmp_path, MINIMAL + 'compare = { "b" = "D_M" }\n')
    assert _suite(tmp_path, MINIMAL + 'compare = { "b" = "D_MS" }\n').tasks[0].compare == {"b": "D_MS"}


ORIGINALS = {
    "vae": 34_183_601,
    "cevae": 34_183_601,
    "gmvae": 372_695,
    "constrained-aae": 41_025_746,
    "fanogan": 29_184_450,
}
"""Parameters of the publications' own networks at 128², one channel, as counted by hand in the
tests of the models."""


def _original_rows(overrides=None):
    suite = Suite.load("baur2021", overrides)
    task = suite.tasks[0]
    rows = [entry for entry in suite.entries(task) if "original network" in entry.label]
    return {entry.name: suite.method(task, entry).model for entry in rows}


def _parameters(config, **shape):
    with torch.device("meta"):
        model = build("models", config, channels=1, **shape)
    return sum(each.numel() for each in model.parameters())


def test_rows_of_original_networks_have_their_publications_parameters():
    counts = {name: _parameters(config, size=(128, 128)) for name, config in _original_rows().items()}
    assert counts == ORIGINALS


def test_a_narrower_suite_makes_original_networks_narrower_by_the_same_factor():
    rows = _original_rows({"model.network.width": 16})
    assert {name: config["network"] for name, config in rows.items()} == {
        "vae": {"name": "zimmerer2018", "width": 8},
        "cevae": {"name": "zimmerer2018", "width": 8},
        "gmvae": {"name": "you", "width": 32},
        "constrained-aae": {"name": "residual", "width": 32},
        "fanogan": {"name": "residual", "width": 32},
    }
    assert _parameters(rows["gmvae"], size=(64, 64)) == 94_839


def test_a_row_that_says_its_width_keeps_it(tmp_path):
    row = "[[methods]]\nname = 'vae'\nsettings = {'model.network' = {name = 'zimmerer2018', width = 4}}\n"
    suite = _suite(tmp_path, MINIMAL + row, {"model.network.width": 16})
    (task,) = suite.tasks
    (entry,) = suite.entries(task, ["vae"])
    assert suite.method(task, entry).model["network"] == {"name": "zimmerer2018", "width": 4}


@pytest.mark.parametrize(
    ("method", "network", "latent"),
    [
        ("gmvae", "you", 1),
        ("gmvae-spatial", "you", 1),
        ("gmvae-spatial-restoration", "you", 1),
        ("fanogan", "residual", 64),
    ],
)
def test_another_network_brings_its_own_code(method, network, latent):
    config = Method.load(method, {"model.network": network}).model
    assert build("models", config, channels=1, size=(32, 32)).latent == latent


def _models(suite, names):
    suite = Suite.load(suite)
    (task,) = suite.tasks
    rows = [entry for entry in suite.entries(task) if entry.name in names]
    return {entry.label: suite.method(task, entry).model for entry in rows}


def test_both_bottlenecks_of_every_loss_are_there_from_few_numbers_to_many():
    names = ("ae", "ae-spatial", "vae", "vae-spatial", "anovaegan", "anovaegan-spatial")
    models = _models("baur2018", names)
    assert len(models) == 3 * 3 + 3 * 4
    for label, config in models.items():
        name, _, latent = label.partition(" · latent ")
        with torch.device("meta"):
            model = build("models", config, channels=1, size=(96, 80))
        x = torch.zeros(1, 1, 96, 80, device="meta")
        found = model.code(x) if name.startswith("ae") else model.encode(x)[0]
        grid = (12, 10) if "spatial" in name else ()
        assert found.shape == (1, int(latent), *grid)


def test_zimmerers_rows_share_his_networks_and_the_factor_goes_from_vae_to_context_encoder():
    names = ("ae", "gaussian-dae", "zimmerer2018-cevae", "zimmerer2019-vae")
    models = _models("zimmerer-vae", names)
    coordinates = {"name": "zimmerer2018", "coordinates": True}
    for label, config in models.items():
        of_context = "factor" in label or "context" in label
        assert config["network"] == (coordinates if of_context else {"name": "zimmerer2019"})
        assert config["latent"] == (1024 if of_context else 256) or "latent" in label
    assert {config["factor"] for config in models.values() if "factor" in config} == {0, 0.25, 0.5, 0.75, 1}
    of_one_model = [label for label in models if label.startswith("zimmerer2019-vae")]
    assert len(of_one_model) == 6


def test_baselines_are_there_without_being_named_and_not_twice(tmp_path):
    text = MINIMAL + '[[methods]]\nname = "intensity"\n[[methods]]\nname = "vae"\n'
    assert sorted(entry.label for entry in _suite(tmp_path, text).methods) == [
        "intensity",
        "intensity, dark",
        "intensity, two-sided",
        "intensity-depth",
        "intensity-unfiltered",
        "random",
        "vae",
        "zmap",
    ]


def test_settings_reach_the_methods_that_have_them(tmp_path):
    text = (
        MINIMAL
        + '[settings]\n"model.network.width" = 4\n"training.batch_size" = 3\n[[methods]]\nname = "vae"\n'
    )
    suite = _suite(tmp_path, text, {"prepare.size": 32, "budget.steps": 50})
    (task,) = suite.tasks
    methods = {entry.label: suite.method(task, entry) for entry in suite.entries(task)}
    assert methods["vae"].model["network"] == {"width": 4}
    assert methods["vae"].training["batch_size"] == 3
    assert methods["vae"].training["steps"] == 50
    assert methods["intensity"].model == {"name": "intensity", "polarity": "bright"}
    assert not methods["intensity"].training
    assert methods["intensity"].prepare["size"] == 32
    assert "size" not in methods["zmap"].prepare


def test_the_budget_never_raises_the_steps(tmp_path):
    suite = _suite(tmp_path, MINIMAL + '[[methods]]\nname = "vae"\n', {"budget.steps": 10**9})
    (task,) = suite.tasks
    (entry,) = suite.entries(task, ["vae"])
    assert suite.method(task, entry).training["steps"] == 2000


@pytest.mark.parametrize("key", ["score.compare.mode", "score.mode"])
def test_settings_of_a_comparison_reach_the_scores_that_compare(key, tmp_path):
    names = ("vae", "vae-restoration", "vae-combi", "vae-kl-gradient", "vae-sampling-variance")
    rows = "".join(f"[[methods]]\nname = '{name}'\n" for name in names)
    settings = f"'{key}' = 'positive'\n'score.restore.draws' = 3\n'score.smooth' = 2.0\n"
    suite = _suite(tmp_path, MINIMAL + "[settings]\n" + settings + rows)
    (task,) = suite.tasks
    scores = {entry.label: suite.method(task, entry).score for entry in suite.entries(task)}
    compared = {name for name in names if scores[name].get("compare") == {"mode": "positive"}}
    assert compared == {"vae", "vae-restoration", "vae-combi"}
    assert {name for name in names if scores[name].get("restore", {}).get("draws") == 3} == {
        "vae-sampling-variance"
    }
    assert all(scores[name]["smooth"] == 2.0 for name in names)


def test_swept_settings_are_rows_of_their_own(tmp_path):
    row = "[[methods]]\nname = 'vae'\nsettings = {'model.network.width' = 8}\nsweep = {'model.latent' = [4, 8], 'training.steps' = [10, 20]}\n"
    suite = _suite(tmp_path, MINIMAL + row)
    swept = {entry.label: entry for entry in suite.methods if entry.sweep}
    assert list(swept) == [f"vae · latent {latent}, steps {steps}" for latent in (4, 8) for steps in (10, 20)]
    entry = swept["vae · latent 8, steps 10"]
    assert entry.settings == {"model.network.width": 8, "model.latent": 8, "training.steps": 10}
    assert entry.sweep == {"model.latent": 8, "training.steps": 10}


def test_shares_of_subjects_are_rows_of_their_own(tmp_path):
    suite = _suite(tmp_path, MINIMAL + '[[methods]]\nname = "vae"\nsubjects = [0.1, 1.0]\n')
    assert {entry.label: entry.subjects for entry in suite.methods if entry.name == "vae"} == {
        "vae · 10% of subjects": 0.1,
        "vae": 1.0,
    }


def test_several_names_are_a_row_each_with_the_label_behind_it(tmp_path):
    rows = """
[[methods]]
name = ["vae", "dae"]
label = "wide"
settings = { "model.network.width" = 48 }
[[methods]]
name = ["vae", "dae"]
subjects = [0.5]
"""
    own = [entry for entry in _suite(tmp_path, MINIMAL + rows).methods if entry.name in {"vae", "dae"}]
    assert [(entry.label, entry.name, entry.subjects) for entry in own] == [
        ("vae, wide", "vae", 1.0), ("dae, wide", "dae", 1.0),
        ("vae · 50% of subjects", "vae", 0.5), ("dae · 50% of subjects", "dae", 0.5),
    ]  # fmt: skip
    assert own[1].settings == {"model.network.width": 48}


def test_a_baseline_that_is_only_swept_is_there_as_it_stands_too(tmp_path):
    rows = "[[methods]]\nname = 'intensity'\nsweep = {'postprocess.median_mm' = [0.0, 5.0]}\n"
    labels = [entry.label for entry in _suite(tmp_path, MINIMAL + rows).methods if entry.name == "intensity"]
    assert labels == [
        "intensity · median_mm 0", "intensity · median_mm 5", "intensity", "intensity, dark", "intensity, two-sided"
    ]  # fmt: skip


def test_every_row_of_the_study_is_learnt_from_fewer_subjects_too():
    from aberra.benchmark.statistics import published

    suite = Suite.load("baur2021")
    shares: dict[str, set[float]] = {}
    for entry in suite.entries(suite.tasks[0]):
        shares.setdefault(entry.name, set()).add(entry.subjects)
    for name in published()["baur2021"]["AUPRC"]["D_MS"]:
        assert shares[name] == {0.1, 0.5, 1.0}, name


def test_a_grid_leaves_out_pairings_that_cannot_work(tmp_path):
    grid = """
[grid]
methods = ["ae", "vae"]
[[grid.scores]]
label = "rec"
name = "residual"
[[grid.scores]]
label = "kl"
name = "term"
of = "kl"
"""
    labels = {entry.label for entry in _suite(tmp_path, MINIMAL + grid).methods}
    assert {"ae · rec", "vae · rec", "vae · kl"} <= labels
    assert "ae · kl" not in labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no \\[tasks"),
        (MINIMAL + "[[methods]]\nlabel = 'x'\n", "needs 'name'"),
        (MINIMAL + "[[methods]]\nname = []\n", "needs 'name'"),
        (MINIMAL + "[[methods]]\nname = ['vae', 3]\n", "methods: name=.*expected a list with text"),
        (
            MINIMAL + "[[methods]]\nname = 'vae'\n[[methods]]\nname = 'vae'\n",
            "more than one row is called vae",
        ),
        (
            MINIMAL + "[[methods]]\nname = 'vae'\nsubjects = 1.5\n",
            r"subjects=1.5: expected a number in \(0, 1\]",
        ),
        (MINIMAL + "[[methods]]\nname = 'vae'\nsweep = {'model.latent' = 4}\n", "list of values"),
        (MINIMAL.replace('validation = "b"', 'validation = "c"'), "unknown cohort.*'c'"),
        (
            MINIMAL + "[cohorts.c]\n",
            "exactly one of phantom, ellipses, manifest, plant, mood, edit and union",
        ),
        (MINIMAL + "[cohorts.c]\nmanifest = 'm.csv'\nshare = [0.5]\n", "'c': share=.*two numbers"),
        (MINIMAL + "[cohorts.c]\nmanifest = 'm.csv'\nshare = [0.5, 0.5]\n", "'c': share=.*lower one first"),
        (MINIMAL + "[budget]\nhours = 3\n", "unknown budget"),
        ("metrics = ['AP', 'Dise']\n" + MINIMAL, "unknown metric.*'Dise'.*slice AUROC"),
        ("sedes = [1]\n" + MINIMAL, "Did you mean 'seeds'"),
        (MINIMAL + "[tasks.u]\ntrain = 'a'\n", "missing"),
        ("title = ", "cannot be read as TOML"),
    ],
)
def test_broken_suites_are_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        _suite(tmp_path, text)


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'smoke'"):
        Suite.load("smok")
    suite = Suite.load("smoke")
    with pytest.raises(ConfigError, match="Did you mean 'vae'"):
        suite.entries(suite.tasks[0], ["vea"])


def test_identity_changes_with_settings_but_not_with_rows_and_columns(tmp_path):
    one = _suite(tmp_path, MINIMAL)
    more = _suite(tmp_path, MINIMAL + '[[methods]]\nname = "vae"\n')
    other = _suite(tmp_path, MINIMAL, {"budget.steps": 5})
    columns = _suite(tmp_path, "metrics = ['AUROC', 'AP']\n" + MINIMAL)
    assert columns.metrics == ("AUROC", "AP")
    assert one.identity == more.identity == columns.identity != other.identity


def test_a_tiny_suite_has_methods_at_test_size_and_its_own_settings_over_them(tmp_path):
    text = '[settings]\n"model.latent" = 3\n[[methods]]\nname = "vae"\n'
    plain, small = (_suite(tmp_path, f"tiny = {tiny}\n" + MINIMAL + text) for tiny in ("false", "true"))
    (task,) = small.tasks
    (entry,) = small.entries(task, ["vae"])
    expected = Method.load("vae").at_test_size().overridden({"model.latent": 3})
    assert small.method(task, entry) == expected
    assert plain.method(task, entry) == Method.load("vae").overridden({"model.latent": 3})
    assert plain.identity != small.identity


def test_a_suites_former_setting_is_refused_with_its_present_name(tmp_path):
    suite = _suite(tmp_path, MINIMAL + '[settings]\n"model.width" = 4\n[[methods]]\nname = "vae"\n')
    (task,) = suite.tasks
    entry = next(each for each in suite.entries(task) if each.name == "vae")
    with pytest.raises(ConfigError, match=r"model\.width: is model\.network\.width now"):
        suite.method(task, entry)


def test_a_setting_of_networks_goes_to_the_methods_whose_network_has_it(tmp_path):
    rows = "".join(f'[[methods]]\nname = "{name}"\n' for name in ("vae", "dae", "segnet", "pca"))
    settings = '[settings]\n"model.network.depth" = 3\n"model.network.width" = 4\n'
    suite = _suite(tmp_path, MINIMAL + settings + rows)
    (task,) = suite.tasks
    found = {each.name: suite.method(task, each).model for each in suite.entries(task)}
    assert found["dae"]["network"] == {"name": "unet", "width": 4, "depth": 3}
    assert found["vae"]["network"] == {"width": 4}
    assert all("network" not in found[name] for name in ("segnet", "pca"))


def test_shares_of_a_manifest_are_other_patients_and_together_all(tmp_path):
    rows = [f"c{index},p{index // 2},c{index}.nii.gz,0" for index in range(10)]
    (tmp_path / "m.csv").write_text("\n".join(["case,patient,image,label", *rows]))
    for index in range(10):
        (tmp_path / f"c{index}.nii.gz").touch()
    parts = "".join(
        f"[cohorts.{name}]\nmanifest = 'm.csv'\nshare = {share}\n"
        for name, share in (("first", [0.0, 0.6]), ("last", [0.6, 1.0]))
    )
    suite = _suite(tmp_path, MINIMAL + parts + "[cohorts.less]\nmanifest = 'm.csv'\nwithout = ['c3']\n")
    first, last, less = (
        [each.case for each in materialise(suite, name, tmp_path, tmp_path, progress=False)]
        for name in ("first", "last", "less")
    )
    assert first == [f"c{index}" for index in range(6)]
    assert last == [f"c{index}" for index in range(6, 10)]
    assert less == [f"c{index}" for index in range(10) if index != 3]


def test_folds_divide_a_cohort_that_is_sorted(tmp_path):
    rows = [f"c{index},p{index},c{index}.nii.gz,{int(index >= 10)}" for index in range(20)]
    (tmp_path / "m.csv").write_text("\n".join(["case,patient,image,label", *rows]) + "\n")
    for index in range(20):
        (tmp_path / f"c{index}.nii.gz").touch()
    tables = "".join(
        f"[cohorts.{name}]\nmanifest = 'm.csv'\nfolds = {folds}\n"
        for name, folds in (("some", [0, 1, 2, 3, 4, 5, 6]), ("rest", [7, 8, 9]))
    )
    suite = _suite(tmp_path, MINIMAL + tables)
    some, rest = (materialise(suite, name, tmp_path, tmp_path, progress=False) for name in ("some", "rest"))
    assert [each.case for each in rest] == ["c7", "c8", "c9", "c17", "c18", "c19"]
    assert len(some) + len(rest) == 20
    with pytest.raises(ConfigError, match=r"folds.*9 or less"):
        _suite(tmp_path, MINIMAL + "[cohorts.ten]\nmanifest = 'm.csv'\nfolds = [10]\n")


def test_ellipses_are_a_cohort_with_signed_truth(tmp_path):
    table = "[cohorts.shapes]\nellipses = { cases = 2, size = 64, seed = 3 }\n"
    cohort = materialise(_suite(tmp_path, MINIMAL + table), "shapes", tmp_path, None, progress=False)
    assert [(case.label, case.truth is not None) for case in cohort] == [(0, False), (1, True)]
    assert list(cohort.channel_names) == ["image"]


def test_kinds_of_cohorts_that_came_later_leave_other_suites_as_they_were(tmp_path):
    plain, late = (
        _suite(tmp_path, MINIMAL + text)
        for text in ("[cohorts.c]\nmanifest = 'm'\n", "[cohorts.c]\nmanifest = 'm'\nfolds = []\n")
    )
    assert plain.identity == late.identity
    assert _suite(tmp_path, MINIMAL + "[cohorts.c]\nmanifest = 'm'\nfolds = [1]\n").identity != plain.identity


def test_a_case_left_out_is_one_of_the_cohort(tmp_path):
    (tmp_path / "m.csv").write_text("case,patient,image,label\nc1,p1,c1.nii.gz,0\n")
    (tmp_path / "c1.nii.gz").touch()
    suite = _suite(tmp_path, MINIMAL + "[cohorts.less]\nmanifest = 'm.csv'\nwithout = ['c2']\n")
    with pytest.raises(ConfigError, match=r"unknown case in .*'c2'"):
        materialise(suite, "less", tmp_path, tmp_path, progress=False)


def test_the_scores_of_shift_and_lesion_share_one_training():
    suite = Suite.load("heer-ood")
    for task in suite.tasks:
        grid = [
            suite.method(task, entry) for entry in suite.entries(task) if entry.label.startswith("vae · ")
        ]
        asked = [method for method in grid if method.score["name"] != "residual"]
        assert len(asked) == 9
        assert all(method.learnt == asked[0].learnt for method in asked)


def test_the_low_pass_is_asked_in_use_and_without_of_the_same_models():
    suite = Suite.load("baur-steganomaly")
    (task,) = suite.tasks
    rows = [suite.method(task, entry) for entry in suite.entries(task) if entry.name == "steganomaly"]
    learnt = {config_hash(method.learnt) for method in rows}
    assert (len(rows), len(learnt)) == (4 + 3 + 2 + 2, 4 + 2)
    for method in rows:
        assert not (method.model["sigma"] and method.model.get("noise"))
        with torch.device("meta"):
            build("models", method.model, channels=1, size=(96, 80))
