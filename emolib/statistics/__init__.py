"""Intervals over scenarios, effect sizes, power, and areas under a curve; no model library."""
