from __future__ import annotations

import pytest

from aberra.detector import Detector
from aberra.errors import ConfigError
from aberra.former import present_score, present_weights, without_idle
from aberra.method import Method
from aberra.registry import build, lookup, named
from aberra.scores import SmoothedScore, check_pairing

SCORES = [
    (
        {"name": "residual", "mode": "positive", "centre": True, "smooth": 1.0},
        {"name": "residual", "compare": {"mode": "positive", "centre": True}, "smooth": 1.0},
    ),
    (
        {"name": "residual", "mode": "structural", "alpha": 0.5, "data_range": 2.0},
        {"name": "residual", "compare": {"mode": "structural", "alpha": 0.5, "data_range": 2.0}},
    ),
    (
        {"name": "restoration", "tv": 0.3, "mode": "negative"},
        {"name": "residual", "restore": {"name": "restoration", "tv": 0.3}, "compare": {"mode": "negative"}},
    ),
    (
        {"name": "latent-search", "steps": 5, "feature_weight": 0.0},
        {"name": "residual", "restore": {"name": "latent-search", "steps": 5, "feature_weight": 0.0}},
    ),
    (
        {"name": "guided", "start": 250, "scale": 3.0},
        {"name": "residual", "restore": {"name": "guided", "start": 250, "scale": 3.0}},
    ),
    (
        {"name": "autoddpm", "start": 100, "scale": 0.2, "smooth": 2.0},
        {
            "name": "residual",
            "restore": {"name": "autoddpm", "start": 100, "scale": 0.2},
            "compare": {"weighted": True},
            "smooth": 2.0,
        },
    ),
    (
        {"name": "thor", "harmonise": [100]},
        {"name": "residual", "restore": {"name": "thor", "harmonise": [100]}, "compare": {"mode": "evidence"}},
    ),
    (
        {"name": "monte-carlo", "draws": 3, "mode": "positive"},
        {"name": "residual", "restore": {"name": "draws", "draws": 3}, "compare": {"mode": "positive"}},
    ),
    (
        {"name": "monte-carlo", "of": "std", "draws": 3, "mode": "absolute"},
        {"name": "spread", "of": "std", "restore": {"name": "draws", "draws": 3}},
    ),
    ({"name": "monte-carlo", "of": "residual"}, {"name": "residual", "restore": {"name": "draws"}}),
    (
        {"name": "partial-diffusion", "start": 100, "draws": 2, "mode": "perceptual"},
        {
            "name": "residual",
            "restore": {"name": "partial-diffusion", "start": 100, "draws": 2},
            "compare": {"mode": "perceptual"},
        },
    ),
    (
        {"name": "partial-diffusion", "of": "variance", "draws": 2},
        {
            "name": "spread",
            "of": "variance",
            "restore": {"name": "partial-diffusion", "draws": 2, "average": False},
        },
    ),
    (
        {"name": "combi", "of": "kl", "mode": "positive", "smooth": 1.0},
        {"name": "combi", "of": "kl", "compare": {"mode": "positive"}, "smooth": 1.0},
    ),
    (
        {"name": "mahalanobis", "draws": 4, "epsilon": 0.2},
        {
            "name": "mahalanobis",
            "epsilon": 0.2,
            "restore": {
                "name": "partial-diffusion",
                "start": 500,
                "steps": 10,
                "sampler": "ddim",
                "draws": 4,
                "average": False,
            },
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("former", "present"), SCORES)
def test_former_scores_are_read_as_present_ones_and_these_stay_as_they_are(former, present):
    assert present_score(former) == present
    assert present_score(present) == present
    SmoothedScore.of(present)


@pytest.mark.parametrize(
    "score",
    [
        {"name": "gradient", "of": "kl"},
        {"name": "segmentation", "draws": 2},
        {"name": "multi-scale", "mode": "positive"},
        {"name": "deviation", "mode": ["positive"]},
        {"name": "mine", "mode": "positive"},
        {"name": 3},
        {},
        {"name": "residual", "compare": "ssim", "mode": "ssim"},
        {"name": "residual", "restore": {"steps": 3}},
    ],
)
def test_what_is_not_of_the_former_form_stays_as_it_is(score):
    assert present_score(score) == score


def test_the_given_table_is_not_changed():
    score = {"name": "residual", "mode": "positive", "compare": {"centre": True}}
    assert present_score(score)["compare"] == {"centre": True, "mode": "positive"}
    assert score == {"name": "residual", "mode": "positive", "compare": {"centre": True}}


def test_a_mistyped_option_is_still_named_as_the_scores_own():
    with pytest.raises(ConfigError, match="unknown option of residual: 'moed'"):
        SmoothedScore.of(present_score({"name": "residual", "moed": "positive"}))


def test_method_files_and_settings_of_the_former_form_are_read(tmp_path):
    base, own = tmp_path / "base.toml", tmp_path / "own.toml"
    base.write_text('[model]\nname = "vae"\n[score]\nname = "restoration"\ntv = 0.2\nmode = "positive"\n')
    own.write_text('base = "base.toml"\n[score]\nlength = 0.1\nmode = "negative"\n')
    restore = {"name": "restoration", "tv": 0.2, "length": 0.1}
    assert Method.load(own).score == {"name": "residual", "restore": restore, "compare": {"mode": "negative"}}
    assert Method.load("irvae", {"score.tv": 1.0}).score["restore"]["tv"] == 1.0
    assert Method.load("bayesian-vae", {"score.of": "std"}).score == {
        "name": "spread", "of": "std", "restore": {"name": "draws", "draws": 100}
    }  # fmt: skip
    assert Method.load("vae-sampling-variance", {"score.of": "residual"}).score["name"] == "residual"
    case = Method.load("vae", {"case.score": {"name": "monte-carlo", "draws": 2}}).case
    assert case["score"] == {"name": "residual", "restore": {"name": "draws", "draws": 2}}


def test_a_saved_detectors_idle_options_are_left_out():
    gmvae = {"name": "gmvae", "network": "original", "bottleneck": "dense", "clusters": 3}
    assert without_idle({"model": gmvae, "title": "x"}) == {
        "model": {"name": "gmvae", "network": "original", "clusters": 3}, "title": "x"
    }  # fmt: skip
    fanogan = {"name": "fanogan", "encoder_loss": "izi", "kappa": 1.0}
    assert without_idle({"model": fanogan})["model"] == {"name": "fanogan", "encoder_loss": "izi"}
    for model in (gmvae | {"network": "unified"}, fanogan | {"encoder_loss": "izif"}, {"name": "vae"}):
        assert without_idle({"model": model})["model"] == model
    assert without_idle({"model": "damaged"}) == {"model": "damaged"}


PDDPM = {"name": "patched-diffusion", "start": 500}
MEAN_OF_DRAWS = {"name": "draws", "draws": 4, "average": True}
USE = [
    ("ddpm-segmenter", {"sampling_steps": 25, "sampler": "ddim"}, {"name": "segmentation"}, {"name": "segmentation", "steps": 25, "sampler": "ddim"}),
    ("ddpm-segmenter", {}, {"name": "segmentation"}, {"name": "segmentation"}),
    ("pddpm", {"start": 250}, {"name": "residual"}, {"name": "residual", "restore": PDDPM | {"start": 250}}),
    ("pddpm", {}, {"name": "residual", "restore": {"name": "reconstruct"}}, {"name": "residual", "restore": PDDPM}),
    ("disyre", {"severities": 6}, {"name": "residual"}, {"name": "residual", "restore": MEAN_OF_DRAWS | {"draws": 6}}),
    ("disyre", {"severities": 6}, {"name": "residual", "restore": {"name": "draws", "draws": 4}}, {"name": "residual", "restore": {"name": "draws", "draws": 4}}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "options", "score", "present"), USE)
def test_settings_of_use_that_were_a_models_are_the_scores(model, options, score, present):
    method = Method(name="old", model={"name": model, "timesteps": 50, **options}, score=score)
    assert (method.model, method.score) == ({"name": model, "timesteps": 50}, present)
    assert Method(**method.to_dict()) == method
    check_pairing(lookup("models", model), SmoothedScore.of(method.score).score)


def test_tests_of_a_former_method_file_are_read_too():
    method = Method(
        name="old", model={"name": "pddpm"}, score={"name": "residual"}, tiny={"model": {"start": 100}}
    )
    assert method.at_test_size().score["restore"] == PDDPM | {"start": 100}


def test_a_former_file_over_a_present_one_is_asked_as_it_says(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('base = "pddpm"\n[model]\nstart = 250\n')
    assert Method.load(own).score["restore"] == PDDPM | {"start": 250}
    own.write_text('base = "ddpm-segmentation"\n[model]\nsampling_steps = 100\n')
    assert Method.load(own).score == Method.load("ddpm-segmentation", {"score.steps": 100}).score
    own.write_text('base = "disyre"\n[model]\nseverities = 6\n')
    assert Method.load(own).score == Method.load("disyre").score  # its draws are the score's own


def test_a_former_setting_is_refused_with_its_present_name():
    for name, key, now in (
        ("pddpm", "start", "score.restore.start"),
        ("disyre", "severities", "score.restore.draws"),
        ("ddpm-segmentation", "sampling_steps", "score.steps"),
        ("vae", "dims", "prepare.dims"),
    ):
        with pytest.raises(ConfigError, match=f"model.{key}: is {now} now"):
            Method.load(name, {f"model.{key}": 3})


def test_a_setting_of_use_asks_for_no_new_training():
    for name, key in (("pddpm", "score.restore.start"), ("ddpm-segmentation", "score.steps")):
        assert Method.load(name, {key: 7}).learnt == Method.load(name).learnt


SPATIAL = {"name": "unified-spatial"}
NETWORKS = [
    ("vae", {"width": 8, "dropout": 0.1}, {"width": 8, "dropout": 0.1}),
    ("vae", {"network": "original", "width": 8}, {"name": "zimmerer2018", "width": 8}),
    ("cevae", {"network": "unified"}, {"name": "unified"}),
    ("aae", {"network": "original"}, {"name": "residual"}),
    ("fanogan", {"network": "original", "width": 16}, {"name": "residual", "width": 16}),
    ("gmvae", {"network": "original"}, {"name": "you"}),
    ("gmvae", {"network": "original", "bottleneck": "spatial"}, {"name": "you"}),
    ("gmvae", {"bottleneck": "spatial"}, SPATIAL),
    ("gmvae", {"network": "unified", "bottleneck": "dense", "width": 16}, {"name": "unified", "width": 16}),
    ("ae", {"bottleneck": "spatial"}, SPATIAL | {"dropout": 0.2}),
    ("constrained-ae", {"bottleneck": "spatial", "dropout": 0.0}, SPATIAL | {"dropout": 0.0}),
    ("context-ae", {"bottleneck": "dense"}, {"name": "unified"}),
    ("dae", {"width": 16, "depth": 3}, {"width": 16, "depth": 3}),
    ("vqvae", {"width": 16}, {"width": 16}),
    ("pddpm", {"blocks": 2, "attention": [16]}, {"blocks": 2, "attention": [16]}),
    ("guided-ddpm", {"width": 16, "multipliers": [1, 2]}, {"width": 16, "multipliers": [1, 2]}),
]


@pytest.mark.parametrize(("model", "former", "network"), NETWORKS)
def test_options_of_networks_that_were_a_models_are_its_networks(model, former, network):
    method = Method(name="old", model={"name": model} | former, score={"name": "residual"})
    assert method.model == {"name": model, "network": network}
    assert Method(**method.to_dict()) == method
    named("models", method.model)


@pytest.mark.parametrize(("model", "kept"), [("ae", {}), ("context-ae", {}), ("gmvae", {"latent": 64})])
def test_a_spatial_bottleneck_of_an_autoencoder_was_its_own_map_whatever_the_latent_said(model, kept):
    options = {"name": model, "bottleneck": "spatial", "latent": 64}
    method = Method(name="old", model=options, score={"name": "residual"})
    assert {"latent": 64}.items() & method.model.items() == kept.items()
    assert method.model["network"]["name"] == "unified-spatial"


@pytest.mark.parametrize("model", ["segnet", "skip-ae", "scale-space-ae", "mine"])
def test_models_that_are_their_own_network_keep_their_options(model):
    options = {"name": model, "width": 8}
    assert Method(name="old", model=options, score={"name": "residual"}).model == options


def test_a_former_file_over_a_present_one_and_its_tests(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('base = "andi"\n[model]\nwidth = 64\n[tiny]\nmodel.width = 4\n')
    method = Method.load(own)
    assert method.model["network"] == Method.load("andi").model["network"] | {"width": 64}
    assert method.at_test_size().model["network"] == method.model["network"] | {
        "width": 4,
        "multipliers": [1, 2],
    }
    own.write_text('base = "gmvae-spatial"\n[model]\nbottleneck = "dense"\n')
    assert Method.load(own).model["network"] == {"name": "unified"}


@pytest.mark.parametrize(
    ("name", "key", "value", "now"),
    [
        ("dae", "width", 8, "model.network.width"),
        ("andi", "multipliers", [1, 2], "model.network.multipliers"),
        ("ae", "bottleneck", "spatial", "model.network=unified-spatial"),
        ("vae", "network", "original", "model.network=zimmerer2018"),
        ("gmvae", "network", "original", "model.network=you"),
    ],
)
def test_a_former_setting_of_a_network_is_refused_with_its_present_name(name, key, value, now):
    with pytest.raises(ConfigError, match=f"model.{key}: is {now} now"):
        Method.load(name, {f"model.{key}": value})


def test_a_name_stands_for_a_table():
    assert Method.load("vae", {"model.network": "zimmerer2018"}).model["network"] == {"name": "zimmerer2018"}
    chosen = Method.load("vae", {"model.network": "zimmerer2018", "model.network.width": 4})
    assert chosen.model["network"] == {"name": "zimmerer2018", "width": 4}
    assert Method.load("dae", {"model.network.width": 4}).model["network"] == {"name": "unet", "width": 4}


@pytest.mark.parametrize("prepare", [{}, {"size": 32}, {"dims": 2, "size": 32}])
def test_dimensions_that_were_the_models_are_the_preparations(prepare):
    method = Method(name="old", model={"name": "dae", "dims": 3}, score={"name": "residual"}, prepare=prepare)
    assert method.model == {"name": "dae"}
    assert method.prepare == prepare | {"dims": 3}


def test_dimensions_of_a_shipped_detectors_model_are_read_as_the_preparations():
    detector = Detector.load("flair")
    assert "dims" not in detector.method.model
    assert detector.method.prepare["dims"] == detector.dims == 3
    assert detector.asking(Method.load("synthetic-lesions")).method.learnt == detector.method.learnt


def test_the_dictionary_of_a_saved_vqvae_is_a_part_of_the_model_now():
    model = build("models", {"name": "vqvae", "words": 8, "latent": 4}, channels=1, dims=2, size=(32, 32))
    now = model.state_dict()
    names = {"codebook.words": "codebook", "codebook.counts": "counts", "codebook.sums": "sums"}
    former = {names.get(name, name): tensor for name, tensor in now.items()}
    assert present_weights(former, model).keys() == now.keys()
    assert present_weights(now, model).keys() == now.keys()
