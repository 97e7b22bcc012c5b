"""Which parts of a model carry an effect: what heads read and write, and how much a small set of parts explains."""
