"""Mistakes that a user can mend; the tools print them without a traceback."""


class UserError(Exception):
    """What was got, what is allowed, what to do next."""


class ArgumentError(UserError, ValueError):
    """An argument, or a setting in a config, is out of range."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint cannot be read, or does not fit the network."""


class DataError(UserError, OSError):
    """A data set, or a picture, is not where it should be, damaged, or unusable."""


class MissingDataError(DataError):
    """A data set is not there."""


class ProcessError(UserError, RuntimeError):
    """Another process of this run is gone."""
