"""What the runtime refuses, and how it says so."""
import re


class PredictionError(Exception):
    """A file or picture cannot be used: what was got, and what to do."""


def first_line(error: Exception) -> str:
    """Return the beginning of an error's text, or its kind.

    Lines that only say where in its sources a library found it are left out.
    """
    lines = [line for line in str(error).splitlines() if line.strip()
             and not re.match(r"Exception from |Check '.*' failed at ", line)]
    return (lines or [type(error).__name__])[0]
