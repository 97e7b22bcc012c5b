"""Which parts of a model carry an emotion: heads and circuits, found and then tested."""
