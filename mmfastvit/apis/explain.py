"""What libraries say of mistakes that a person can mend, in one paragraph each.

MMFastViT's own errors are paragraphs already. For those of others there is a row in
``_ROWS``: which error it is, and what to say. What has no row is a fault of the
program.
"""
import difflib
import errno
import inspect
import re
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from mmengine import registry
from mmengine.config import Config

from mmfastvit.utils.errors import UserError
from mmfastvit.utils.nested import dicts
from mmfastvit_runtime.errors import PredictionError, first_line

_SEE = '(--traceback shows where it was met.)'
_FULL = (errno.ENOSPC, getattr(errno, 'EDQUOT', errno.ENOSPC))


def explain(error: BaseException) -> str | None:
    """Return one paragraph, or None for what only a developer can mend."""
    for one in _chain(error):
        for kinds, pattern, advise in _ROWS:
            match = re.search(pattern, str(one), re.S)
            if isinstance(one, kinds) and match:
                paragraph = advise(one, match)
                if paragraph is not None:
                    return paragraph
    return None


def _chain(error: BaseException | None, handled: bool = False
           ) -> Iterator[BaseException]:
    """Yield an error and what it was raised from; perhaps what was handled then, too.

    A mistake in the handling of an error has nothing to do with that.
    """
    while error is not None:
        yield error
        error = error.__cause__ or (error.__context__ if handled else None)


def _own(error: Exception, match: re.Match) -> str:
    # PyTorch's data loader puts its process's frames before the text.
    text = str(error)
    return re.split(r'\n(?:\w+\.)*\w+: ', text)[-1].strip() \
        if 'Original Traceback' in text else text


def _memory(error: Exception, match: re.Match) -> str:
    return (f'There is not enough memory: {first_line(error)} Take smaller pictures '
            '(--size, or scale in the pipeline) or a smaller batch '
            f'(train_dataloader.batch_size), or end other programs. {_SEE}')


def _disk(error: Exception, match: re.Match) -> str:
    name = getattr(error, 'filename', None)
    return (f'{name or "A file"} cannot be written whole. The disk is full, most '
            f'likely: {first_line(error)}. Free some space, or write elsewhere (--out, '
            f'--work-dir). What was written before is whole. {_SEE}')


def _file(error: OSError, match: re.Match) -> str | None:
    if error.errno in _FULL:
        return _disk(error, match)
    if not error.filename:
        return None
    advice = ('Take a place that you may write to (--out, --work-dir), or ask for the '
              'permission.' if isinstance(error, PermissionError)
              or error.errno == errno.EROFS
              else 'Check the names on the command line and in the config.')
    return f'{error.filename}: {error.strerror}. {advice} {_SEE}'


def _unknown_type(error: Exception, match: re.Match) -> str:
    name, kind = match['name'], match['kind']
    known = set()
    for root in vars(registry).values():
        if isinstance(root, registry.Registry) and root.name == kind:
            for one in (root, *root.children.values()):
                known |= set(one.module_dict)
    near = difflib.get_close_matches(name.rpartition('.')[2], known, 3)
    return (f'type={name!r} is unknown: there is no such {kind}.'
            + (f' Did you mean {" or ".join(near)}?' if near else '')
            + _place(error, name)
            + ' A class of your own has to be imported: custom_imports=dict('
            f"imports=['its.module']). {_SEE}")


def _argument(error: Exception, match: re.Match) -> str | None:
    cls = _built(error)
    if cls is None:  # not a config's, but the program's own mistake
        return None
    known = [name for name in inspect.signature(cls).parameters
             if name not in ('self', 'args', 'kwargs')]
    wrong = match['name']
    near = difflib.get_close_matches(wrong, known, 1)
    return (f'{cls.__name__} takes no {wrong!r}.'
            + (f' Did you mean {near[0]}?' if near else '')
            + _place(error, cls.__name__, wrong)
            + (f' It takes {", ".join(known)}.' if known else '') + f' {_SEE}')


def _missing_argument(error: Exception, match: re.Match) -> str | None:
    cls = _built(error)
    if cls is None:
        return None
    return (f'{cls.__name__} needs {match["names"]}, which the config does not give.'
            f'{_place(error, cls.__name__)} {_SEE}')


def _channels(error: Exception, match: re.Match) -> str:
    return (f'A layer takes {match["wanted"]} channels, and gets {match["given"]}: '
            'in_channels of a neck, a head or the backbone is not what comes before it '
            f'gives. Write {match["given"]} there. {_SEE}')


def _setting(error: Exception, match: re.Match) -> str:
    return (f'The config, or a part of it, has no {match["name"]!r}, which is needed '
            f'here. {_SEE}')


def _module(error: ModuleNotFoundError, match: re.Match) -> str | None:
    name = error.name or ''
    if name.partition('.')[0] == 'mmfastvit':
        return None
    return (f'The Python package {name!r} is not installed, or not complete: {error}. '
            'Install it into this environment; requirements/ says what is for what. '
            f'{_SEE}')


def _seed(error: Exception, match: re.Match) -> str:
    return f'The seed is out of range: {error}. Give 0 to 4294967295. {_SEE}'


def _characters(error: UnicodeError, match: re.Match) -> str:
    return (f'This terminal or system takes no such character: {error}. Set the '
            f'variable PYTHONUTF8=1, or a language with UTF-8, LANG=C.UTF-8. {_SEE}')


# (class, pattern in its text, what to say), the first that fits. Classes of their
# own come before those that they are made of.
_ROWS: tuple[tuple[Any, str, Callable[[Any, re.Match], str | None]], ...] = (
    ((UserError, PredictionError), '', _own),
    (MemoryError, '', _memory),
    (torch.cuda.OutOfMemoryError, '', _memory),
    (RuntimeError, r"out of memory|not enough memory|can't allocate memory", _memory),
    (RuntimeError, r'PytorchStreamWriter failed|unexpected pos|iostream error',
     _disk),
    (ModuleNotFoundError, '', _module),
    (OSError, '', _file),
    (UnicodeEncodeError, '', _characters),
    (KeyError, r'(?P<name>[\w.:]+) is not in the (?:[\w-]+::)?(?P<kind>[\w ]+?) '
     'registry', _unknown_type),
    (TypeError, r"got an unexpected keyword argument '(?P<name>\w+)'", _argument),
    (TypeError, r'missing \d+ required [\w-]+ arguments?: (?P<names>.*)',
     _missing_argument),
    (RuntimeError, r'to have (?P<wanted>\d+) channels, but got (?P<given>\d+) channels',
     _channels),
    (AttributeError, r"'Config(?:Dict)?' object has no attribute '(?P<name>\w+)'",
     _setting),
    (ValueError, r'Seed must be between 0 and', _seed),
)


def _frames(error: BaseException) -> Iterator[Any]:
    """Yield the frames of an error and of what it was raised from, inner first."""
    for one in reversed(list(_chain(error, handled=True))):
        frames = [frame for frame, _ in traceback.walk_tb(one.__traceback__)]
        yield from reversed(frames)


def _built(error: BaseException) -> Any | None:
    """Return the class that a registry was building when its arguments did not fit."""
    for frame in _frames(error):
        if frame.f_code.co_name.startswith('build_') and 'obj_cls' in frame.f_locals:
            return frame.f_locals['obj_cls']
        if frame.f_code.co_name != '__init__':  # which may hand on what it gets
            return None
    return None


def _place(error: BaseException, name: str, key: str | None = None) -> str:
    """Say which part of the config names a class, and gives it an argument."""
    for frame in _frames(error):
        for value in list(frame.f_locals.values()):
            if isinstance(value, Config):
                found = [place for place, node in dicts(value.to_dict())
                         if _is(node.get('type'), name) and key in (None, *node)]
                if found:
                    return f' In the config it is {" and ".join(found[:3])}.'
    return ''


def _is(kind: Any, name: str) -> bool:
    kind = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
    return kind.rpartition('.')[2] == name.rpartition('.')[2] != ''
