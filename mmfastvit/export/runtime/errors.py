"""What the runtime refuses, and how it says so."""


class PredictionError(Exception):
    """A file or picture cannot be used: what was got, and what to do."""


def first_line(error: Exception) -> str:
    """Return the beginning of an error's text, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
