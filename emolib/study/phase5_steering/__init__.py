"""Phase 5: residual patching with controls."""
