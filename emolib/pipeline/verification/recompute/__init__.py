"""Results worked out a second time by another route: plain transformers with hooks of its own, and plain numpy.

Nothing here uses the engine, the interventions, the fits of vectors or the claims of the package: what a run has to
hold is written anew from what docs and docstrings say. Only where a model's files lie, and what a data set says, is
asked of the package.
"""
