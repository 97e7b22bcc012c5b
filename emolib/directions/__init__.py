"""Emotion vectors and subspaces, their covariance and stability, their controls and rivals; no model library."""
