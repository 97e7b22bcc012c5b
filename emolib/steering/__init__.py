"""Sweeps over layers, emotions and strengths, and what may be said of them."""
