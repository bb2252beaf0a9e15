"""A suite small enough to run in a test."""

from __future__ import annotations

import pytest

SUITE = """
title = "tiny"
bootstrap = 20
budget = { steps = 6 }
[settings]
"prepare.size" = 32
"model.network.width" = 4
"model.latent" = 8
"training.batch_size" = 4
[cohorts.train]
phantom = { cases = 4, contrast = "flair", spacing = 8.0, seed = 1 }
[cohorts.validation]
phantom = { cases = 2, contrast = "flair", spacing = 8.0, seed = 2 }
[cohorts.healthy]
phantom = { cases = 2, contrast = "flair", spacing = 8.0, seed = 3 }
[cohorts.lesions]
phantom = { cases = 3, lesions = 0.67, contrast = "flair", spacing = 8.0, seed = 4 }
[cohorts.real]
manifest = "nowhere/manifest.csv"
[tasks.phantom]
train = "train"
validation = "validation"
healthy = "healthy"
test = ["lesions"]
[tasks.real]
train = "real"
validation = "real"
test = ["real"]
[[methods]]
name = "vae"
[[methods]]
name = "vae"
label = "vae, smoothed"
settings = { "score.smooth" = 2.0 }
"""


@pytest.fixture(scope="session")
def suite_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "tiny.toml"
    path.write_text(SUITE)
    return path
