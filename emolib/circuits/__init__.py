"""Which heads, and later which circuits, carry what an emotional context or a steer does."""
