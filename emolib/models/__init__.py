"""How a model is loaded, what its parts are called, and texts as padded ids. Only this room knows a loader."""
