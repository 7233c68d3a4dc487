"""Nearest neighbours and clusters of unit vectors: arrays and ids, nothing else."""
