"""Errors that a user can mend: one message that says what is wrong, where, and what to do."""

GOES_ON = "The same command goes on from where it was."  # the message of a KeyboardInterrupt for which this is true


class MimiError(Exception):
    """A user's mistake or a fault of the user's files; printed without a traceback."""


class ConfigError(MimiError):
    """The configuration asks for something that does not exist or makes no sense."""


class DatasetError(MimiError):
    """A dataset folder, label file or image is missing, broken or inconsistent."""


class ScoreError(MimiError):
    """Scores from which a figure cannot be computed: not finite, constant or too few."""


class Terminated(Exception):
    """The process was told to end by SIGTERM, and its run goes on with the same command."""
