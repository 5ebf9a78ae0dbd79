"""What an exported file says about itself, checked before it is used."""
import json
from collections.abc import Sequence
from inspect import signature
from numbers import Real
from pathlib import Path
from typing import Any

from .errors import PredictionError
from .hands import ARRAYS as HAND_ARRAYS
from .hands import are_faces
from .heads import are_heads
from .limits import MAX_FACES, MAX_METADATA, MAX_SIDE
from .masks import DRAW, WHOLE
from .resizing import INTERPOLATIONS, STEPS

# Of each task, the outputs that it cannot do without.
TASKS = {'detection': ('boxes', 'scores', 'labels'), 'features': (),
         'segmentation': ('labels', 'logits'), 'classification': ('scores', ),
         'hand_mesh': HAND_ARRAYS}
# Fields that one task alone has.
_OF_ONE_TASK = {'slide': 'segmentation', 'faces': 'hand_mesh'}


def parse(path: Path, text: str | None, needs_network: bool = False
          ) -> dict[str, Any]:
    """Return a file's metadata.

    Args:
        path: Of the file, for the message.
        text: JSON, or None where the file has none.
        needs_network: Whether its format holds the network alone.

    Raises:
        PredictionError: There is none, or it does not say what it has to.
    """
    if not text:
        raise PredictionError(
            f'{path} holds no metadata of mmfastvit: it was not written by '
            'tools/export.py, and nothing says how pictures are prepared for it.')
    if len(text) > MAX_METADATA:
        raise _damaged(path, f'it has {len(text):,} characters, allowed: '
                       f'{MAX_METADATA:,}')
    try:
        metadata = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f'it is no JSON ({error})') from error
    if not isinstance(metadata, dict):
        raise _damaged(path, f'it is a {type(metadata).__name__}, not a dict')
    for name, (is_right, allowed) in _FIELDS.items():
        if not is_right(metadata.get(name)):
            raise _damaged(path, f'{name}={_short(metadata.get(name))}, allowed: '
                           f'{allowed}')
    if 'size' not in metadata:
        raise _damaged(path, 'size is missing')
    classes, ids = metadata['classes'], metadata.get('category_ids')
    if len(metadata['palette']) < len(classes):
        raise _damaged(path, f'{len(metadata["palette"])} colours for {len(classes)} '
                       'classes')
    if ids is not None and len(ids) < len(classes):
        raise _damaged(path, f'{len(ids)} category_ids for {len(classes)} classes')
    for name, task in _OF_ONE_TASK.items():
        if metadata.get(name) and metadata['task'] != task:
            raise _damaged(path, f'{name}={_short(metadata[name])} of a '
                           f'{metadata["task"]}; allowed: of a {task}')
    network = metadata.get('network')
    if network is None and needs_network:
        raise _damaged(path, 'network is missing')
    if network is not None and not network.get('heads'):
        wanted = {'segmentation': ['logits']}.get(metadata['task'], metadata['outputs'])
        if network['outputs'] != wanted:
            raise _damaged(path, f'network gives {_short(network["outputs"])}, '
                           f'expected: {_short(wanted)}')
    if metadata['task'] == 'detection':
        for name in ('score_threshold', *(
                ['mask_threshold'] if 'masks' in metadata['outputs'] else [])):
            if not _is_share(metadata.get(name)):
                raise _damaged(path, f'{name}={_short(metadata.get(name))}, allowed: '
                               '0 to 1')
        if metadata.get('masks') in WHOLE and not metadata.get('mask_stride'):
            raise _damaged(path, f'masks={metadata["masks"]} needs mask_stride')
    return metadata


def check_outputs(path: Path, metadata: dict[str, Any], inputs: Sequence[str],
                  outputs: Sequence[str]) -> None:
    """Refuse a file whose graph is not what its metadata says.

    Args:
        path: Of the file, for the message.
        metadata: From :func:`parse`.
        inputs: Names of the graph's.
        outputs: Names of the graph's.

    Raises:
        PredictionError: They differ, or the task needs others.
    """
    said = (metadata.get('network') or metadata)['outputs']
    if sorted(said) != sorted(outputs):
        raise _damaged(path, f'outputs={_short(said)}, but the graph has '
                       f'{_short(list(outputs))}')
    if list(inputs) != ['image']:
        raise _damaged(path, f'the graph takes {_short(list(inputs))}, not one image')
    needed = TASKS[metadata['task']]
    if not set(needed) <= set(metadata['outputs']):
        raise _damaged(path, f'task={metadata["task"]} needs {", ".join(needed)}, but '
                       f'outputs={_short(said)}')


def _refuse(constant: str) -> None:
    raise ValueError(f'{constant} is no number of JSON')


def _damaged(path: Path, why: str) -> PredictionError:
    return PredictionError(f"{path}'s metadata is damaged: {why}. Export the model "
                           'again.')


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f'{text[:80]}…'


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= 1


def _is_side(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_SIDE


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_side, value))


def _are_positions(value: Any) -> bool:
    return (isinstance(value, dict) and set(value) == {'least', 'strides'}
            and type(value['least']) is int and isinstance(value['strides'], list)
            and len(value['strides']) <= 16 and all(map(_is_side, value['strides'])))


def _is_slide(value: Any) -> bool:
    """Whether windows are of sizes that are allowed, without gaps between them."""
    return (isinstance(value, dict) and set(value) == {'crop_size', 'stride'}
            and all(map(_is_size, value.values()))
            and all(stride <= crop for stride, crop in
                    zip(value['stride'], value['crop_size'])))


def _are_sides(value: Any) -> bool:
    return (isinstance(value, dict) and set(value) == {'divisor', 'least', 'most'}
            and all(map(_is_side, value.values())))


def _is_network(value: Any) -> bool:
    """Whether it says what a network gives, and how that is completed."""
    if not isinstance(value, dict) or not _are_strings(value.get('outputs')):
        return False
    margin, heads = value.get('margin'), value.get('heads')
    return (isinstance(margin, list) and len(margin) == 3
            and all(isinstance(part, Real) and abs(part) < 2**20 for part in margin)
            and (heads is None or are_heads(heads, len(value['outputs']))))


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _are_colours(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(colour, list) and len(colour) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in colour)
        for colour in value)


def _are_steps(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 16 and all(map(_is_step, value))


def _is_step(step: Any) -> bool:
    """Whether a step is one of ``STEPS``, its arguments there and within bounds."""
    if not isinstance(step, dict) or step.get('type') not in list(STEPS):
        return False
    wanted = [name for name, argument in signature(
        STEPS[step['type']]).parameters.items()
        if argument.kind == argument.POSITIONAL_OR_KEYWORD][1:]  # after the picture
    if set(step) - {'type'} != set(wanted) or not all(
            _ARGUMENTS[name](step[name]) for name in wanted):
        return False
    if step['type'] == 'ResizeEdge':
        return (_is_side(step['scale'])
                and step['interpolation'] in INTERPOLATIONS[step['backend']])
    return step['type'] != 'Resize' or _is_size(step['scale'])


_ARGUMENTS = {
    'scale': lambda value: _is_side(value) or _is_size(value),
    'keep_ratio': lambda value: isinstance(value, bool),
    'size_divisor': _is_side,
    'crop_size': _is_size,
    'edge': lambda value: value in ('short', 'long', 'width', 'height'),
    'backend': lambda value: value in list(INTERPOLATIONS),
    'interpolation': lambda value: isinstance(value, str),
    'size': _is_size,
    'value': lambda value: _are_colours([value]),
}
_FIELDS = {
    'task': (lambda value: value in list(TASKS), ', '.join(TASKS)),
    'outputs': (lambda value: _are_strings(value) and bool(value), 'names'),
    'classes': (_are_strings, 'a list of names'),
    'palette': (_are_colours, 'a list of colours, 3 numbers from 0 to 255 each'),
    'size': (lambda value: value is None or _is_size(value),
             f'null, or height and width up to {MAX_SIDE}'),
    'batch': (lambda value: value is None or _is_side(value), 'null, or a number'),
    'resize': (_are_steps, f'a list of steps of {", ".join(STEPS)}, with all of their '
               'arguments'),
    'category_ids': (lambda value: value is None or isinstance(value, list) and all(
        type(item) is int and abs(item) < 2**63 for item in value),
        'null, or a list of numbers'),
    'positions': (lambda value: value is None or _are_positions(value),
                  'null, or least and strides'),
    'masks': (lambda value: value is None or value in list(DRAW), ', '.join(DRAW)),
    'mask_stride': (lambda value: value is None or _is_side(value),
                    'null, or a number'),
    'pasted': (lambda value: value is None or isinstance(value, bool),
               'true or false'),
    'sides': (lambda value: value is None or _are_sides(value),
              f'null, or divisor, least and most, 1 to {MAX_SIDE} each'),
    'network': (lambda value: value is None or _is_network(value),
                'null, or outputs, margin and heads'),
    'align_corners': (lambda value: value is None or isinstance(value, bool),
                      'true or false'),
    'pad_divisor': (lambda value: value is None or _is_side(value),
                    f'null, or 1 to {MAX_SIDE}'),
    'slide': (lambda value: value is None or _is_slide(value),
              f'null, or crop_size and stride, height and width up to {MAX_SIDE} each, '
              'stride from 1 to crop_size'),
    'faces': (lambda value: value is None or are_faces(value),
              f'null, or a list of up to {MAX_FACES:,} triangles, the numbers of three '
              'vertices each'),
}
