"""What the command says while it works."""
import sys

from tqdm import tqdm

from .prediction import Prediction


def paragraph(error: Exception) -> str:
    """Return what a user is told of an error."""
    if isinstance(error, MemoryError):
        return (f'the memory is full ({error}). Take smaller pictures, or fewer at a '
                'time.')
    if isinstance(error, OSError):
        return f'reading or writing failed: {error}.'
    return str(error)


def say(lines: list[str], prefix: str) -> None:
    """Print lines of text above the progress bar."""
    for line in lines:
        tqdm.write(f'{prefix}{line}')


def report(error: Exception, name: str) -> None:
    """Say that a picture could not be done."""
    text = paragraph(error)
    place = '' if name in text else f'{name}: '
    tqdm.write(f'error: {place}{text}', file=sys.stderr)


def unusable(found: Prediction) -> int:
    """Return how many results are left out since they hold NaN or infinity."""
    return int((~found.finite()).sum())


def warn_of_numbers(count: int, name: str) -> None:
    """Say how much was left out since it is NaN or infinite."""
    if count:
        tqdm.write(f'warning: {name}: {count} results hold NaN or infinity; they are '
                   'neither drawn nor written.', file=sys.stderr)
