"""Writes: photos to people, libraries to clusters, names, and forgetting."""
