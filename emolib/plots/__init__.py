"""Figures and token views, and the files that they become."""
