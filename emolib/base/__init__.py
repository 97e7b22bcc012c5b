"""What every room stands on: parameters, paths, the store of artifacts, progress, and a user's mistake in one line."""
