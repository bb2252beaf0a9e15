"""The diffusion core: schedules, noise, samplers and guidance; models and scores stand on it.

Shapes: ``B`` batch, ``C`` channels, ``S`` the spatial axes. Steps run from t = 1 (hardly any noise)
to T; t = 0 is the clean image.
"""
