"""One no-reference image-quality model from many datasets whose scores do not compare."""

__version__ = "0.1.0"
