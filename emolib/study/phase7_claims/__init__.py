"""Phase 7: statistics and claims across the models of a profile."""
