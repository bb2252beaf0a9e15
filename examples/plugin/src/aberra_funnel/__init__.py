"""An example of a package that gives aberra a model and a method."""
