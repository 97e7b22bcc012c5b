"""Proof that a run is what it says: what lies on disk against manifests, records, other artifacts and reports.

Nothing here computes with a model or writes a file, and what recomputes a table shares no code with what made it.
"""
