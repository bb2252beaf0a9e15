from __future__ import annotations

import pytest

from aberra.errors import ConfigError, PairingError
from aberra.method import Method, catalogue, parse_settings
from aberra.models.vae import VAE
from aberra.registry import build, lookup
from aberra.scores import SmoothedScore, check_pairing

NAMES = {
    "intensity", "intensity-unfiltered", "intensity-depth", "zmap", "tissue", "tissue-bright", "tissue-dark", "mixture-outlier", "constant", "random", "ae", "ae-spatial", "vae", "dae", "context-ae", "constrained-ae", "aae",
    "constrained-aae", "cevae", "gmvae", "gmvae-spatial", "anovaegan", "anogan", "fanogan", "bayesian-ae", "bayesian-vae",
    "skip-ae", "scale-space-ae", "vqvae", "pca", "ocsvm", "vae-restoration", "gmvae-restoration",
    "gmvae-spatial-restoration", "irvae", "vae-kl-gradient", "vae-elbo-gradient", "vae-combi", "cevae-gradient",
    "cevae-combi", "vae-sampling-variance",
}  # fmt: skip


def test_the_catalogue_is_complete_and_documented():
    assert set(catalogue()) >= NAMES
    for name in catalogue():
        method = Method.load(name)
        assert method.title
        assert method.reference
        assert method.cost
        assert method.failure
        assert method.summary
        assert method.when
        lookup("models", method.model["name"])
        SmoothedScore.of(method.score)


def test_settings_are_toml_values_or_text():
    found = parse_settings(
        [
            "model.latent=64",
            "training.flip=0.5",
            "prepare.mask=strip",
            "prepare.match=true",
            "prepare.size=[32, 48]",
        ]
    )
    assert found == {
        "model.latent": 64,
        "training.flip": 0.5,
        "prepare.mask": "strip",
        "prepare.match": True,
        "prepare.size": [32, 48],
    }
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_settings(["model.latent"])


def test_a_path_works_like_a_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\n[model]\nname = "dae"\nwidth = 8\n[score]\nname = "residual"\n')
    method = Method.load(path, {"model.width": 12})
    assert method.name == "mine"
    assert method.model == {"name": "dae", "width": 12}
    path.write_text("titel = 1\n")
    with pytest.raises(ConfigError, match="Did you mean 'title'"):
        Method.load(path)


def test_unknown_names_and_sections():
    with pytest.raises(ConfigError, match="Did you mean 'dae'"):
        Method.load("daee")
    with pytest.raises(ConfigError, match="unknown method 'xxx"):
        Method.load("x" * 5000)  # no system takes it as a file's name
    with pytest.raises(ConfigError, match="setting"):
        Method.load("dae", {"modle.width": 3})
    nameless = Method.load("dae").to_dict()
    del nameless["name"]
    with pytest.raises(ConfigError, match=r"mine: missing .*'name'"):
        Method.from_dict(nameless, "mine")


def test_a_pairing_that_cannot_work_is_refused_without_weights():
    with pytest.raises(PairingError, match=r"ScoresVolume.*VAE.*intensity"):
        check_pairing(VAE, build("scores", {"name": "direct"}))
    check_pairing(VAE, build("scores", {"name": "residual"}))


def _files(tmp_path, **texts):
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def test_a_method_may_start_from_another():
    vae = Method.load("vae")
    combi = Method.load("vae-combi")
    assert combi.learnt == vae.learnt
    assert combi.score["name"] == "combi"
    assert (
        Method.load("cevae-combi").score.keys() == combi.score.keys()
    )  # a section with a name replaces the base's
    assert combi.title != vae.title
    assert combi.learns_from == vae.learns_from


def test_a_file_may_start_from_a_file_beside_it_and_change_single_keys(tmp_path, monkeypatch):
    folder = _files(
        tmp_path,
        one='base = "vae"\n[training]\nsteps = 7\n',
        two='base = "one.toml"\ntitle = "two"\n[training]\nbatch_size = 3\n[score]\nsmooth = 1.0\n',
    )
    monkeypatch.chdir("/")
    method = Method.load(folder / "two.toml")
    base = Method.load("vae")
    assert method.training == base.training | {"steps": 7, "batch_size": 3}
    assert method.score == base.score | {"smooth": 1.0}
    assert method.model == base.model
    with pytest.raises(ConfigError, match="unknown method 'vaes'"):
        Method.load(_files(tmp_path, three='base = "vaes"\n') / "three.toml")


def test_tables_of_the_score_are_changed_key_by_key_or_replaced_with_their_name(tmp_path):
    folder = _files(
        tmp_path,
        one='base = "vae-restoration"\n[score.restore]\ntv = 1.0\n[score.compare]\nmode = "positive"\n',
        two='base = "one.toml"\n[score.restore]\nname = "draws"\n',
    )
    base = Method.load("vae-restoration").score
    one, two = (Method.load(folder / f"{name}.toml").score for name in ("one", "two"))
    assert one == base | {"restore": base["restore"] | {"tv": 1.0}, "compare": {"mode": "positive"}}
    assert two == one | {"restore": {"name": "draws"}}


def test_settings_reach_into_tables():
    method = Method.load("vae-restoration", {"score.restore.tv": 1.0, "score.compare.mode": "ssim"})
    assert method.score["restore"] == Method.load("vae-restoration").score["restore"] | {"tv": 1.0}
    assert method.score["compare"] == {"mode": "ssim"}
    assert Method.load("vae-restoration").score["restore"]["tv"] == 0.3
    for key in ("score", "score.", "score..tv", ".tv", "scores.tv"):
        with pytest.raises(ConfigError, match="setting"):
            Method.load("vae", {key: 1})


def test_the_question_names_the_restoration():
    questions = [
        Method.load(name).question for name in ("vae", "vae-restoration", "vae-combi", "bayesian-ae")
    ]
    assert questions == ["residual", "residual (restoration)", "combi", "residual (draws)"]
