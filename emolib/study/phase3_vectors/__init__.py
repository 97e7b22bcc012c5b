"""Phase 3: emotion vectors and subspaces, what they separate and what can be read out."""
