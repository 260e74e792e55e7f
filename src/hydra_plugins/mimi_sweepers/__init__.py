"""Sweepers of this project, where Hydra looks for its plugins."""
