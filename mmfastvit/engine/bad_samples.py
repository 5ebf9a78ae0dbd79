"""Errors of single samples, which name the picture they are about."""
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.dataset import Compose
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmfastvit.utils.errors import DataError, UserError

# How losses say that there is no such class, on CPUs and GPUs.
_LABEL_ERRORS = ('is out of bounds', 'device-side assert', 'index out of range',
                 'num_classes', 'number of classes')
_FROM_WORKER = f'{DataError.__module__}.{DataError.__qualname__}: '


class _NamingCompose(Compose):
    """A data set's pipeline, which says at which picture a step failed."""

    def __init__(self, pipeline: Compose) -> None:
        self.transforms = pipeline.transforms

    def __call__(self, data: dict) -> dict | None:
        named = [data[key] for key in ('img_path', 'seg_map_path') if data.get(key)]
        for transform in self.transforms:
            try:
                data = transform(data)
            except MemoryError:
                raise
            except Exception as error:
                raise DataError(
                    f'{" with ".join(map(str, named)) or "A sample without a path"} '
                    f'cannot be used: {type(transform).__name__} says '
                    f'{type(error).__name__}: {error}. Mend the file or its '
                    'annotation, or take it out of the data set.') from error
            if data is None:
                return None
        return data


def name_pictures(dataset: Dataset) -> None:
    """Let errors of the pipelines of a data set, and of those in it, name pictures."""
    for child in (getattr(dataset, 'dataset', None),
                  *(getattr(dataset, 'datasets', None) or ())):
        if child is not None:
            name_pictures(child)
    if type(getattr(dataset, 'pipeline', None)) is Compose:
        dataset.pipeline = _NamingCompose(dataset.pipeline)


class _BatchHook(Hook):
    """Keeps which pictures the model is given."""

    def __init__(self) -> None:
        self.pictures: list[str] = []

    def _before_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                     mode: str = 'train') -> None:
        self.pictures = _paths(data_batch)

    def _after_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None,
                    outputs: Any = None, mode: str = 'train') -> None:
        self.pictures = []


@contextmanager
def errors_name_pictures(runner: Runner) -> Iterator[None]:
    """Name the batch at which training or testing ends in an error.

    Raises:
        DataError: A label is out of range, or a sample cannot be read.
    """
    hook = _BatchHook()
    runner.register_hook(hook, priority='VERY_HIGH')
    try:
        yield
    except DataError as error:
        # PyTorch hands on what a worker said as text, with all of its frames.
        message = str(error).rpartition(_FROM_WORKER)[2].strip()
        if message == str(error):
            raise
        raise DataError(message) from error
    except UserError:
        raise
    except Exception as error:
        if not hook.pictures:
            raise
        pictures = ', '.join(hook.pictures)
        if not any(text in str(error) for text in _LABEL_ERRORS):
            runner.logger.error(f'The model was given {pictures}.')
            raise
        raise DataError(
            f'The model ended in {type(error).__name__}: {str(error).splitlines()[0]} '
            f'A label of one of these pictures seems to be out of range: {pictures}. '
            'Mend it, or set num_classes of the heads to the number of classes.'
        ) from error


def _paths(batch: Any) -> list[str]:
    """Return the pictures' paths of a collated batch, as far as they are known."""
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    if not isinstance(samples, Sequence):
        return []
    return [str(path) for path in (getattr(sample, 'img_path', None)
                                   for sample in samples) if path]
