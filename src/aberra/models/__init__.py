"""What is learnt: one file a model, readable top to bottom. Names are in :mod:`aberra.registry`."""
