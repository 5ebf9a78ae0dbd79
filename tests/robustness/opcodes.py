"""Hostile pickles, written opcode by opcode: each would write the canary."""
import pickle as p
import struct
from pathlib import Path
from random import Random

from .case import CANARY


def text(value: str) -> bytes:
    raw = value.encode()
    return p.BINUNICODE + struct.pack('<I', len(raw)) + raw


def name(module: str, attribute: str, protocol: int) -> bytes:
    """Return what pushes a global, which is an import, too."""
    if protocol < 4 and '.' not in attribute:
        return p.GLOBAL + f'{module}\n{attribute}\n'.encode()
    return text(module) + text(attribute) + p.STACK_GLOBAL


def hostile(random: Random, folder: Path, weights: bytes) -> bytes:
    """Return a pickle that calls something foreign, somewhere beside weights.

    Args:
        random: Chooses what is called, how, and where it stands.
        folder: Where the canary would appear.
        weights: Opcodes that push a good state dict.
    """
    protocol = random.choice((2, 2, 3, 4))
    called = call(random, folder, protocol)
    place = random.choice(_PLACES)
    return p.PROTO + bytes([protocol]) + place(called, weights) + p.STOP


def call(random: Random, folder: Path, protocol: int) -> bytes:
    """Return opcodes that call something foreign, in one of pickle's ways."""
    canary = folder / CANARY
    source = f'open({str(canary)!r}, "w").close()'
    module, attribute, *arguments = random.choice((
        ('os', 'system', f'touch {canary}'),
        ('posix', 'system', f'touch {canary}'),
        ('builtins', 'exec', source),
        ('builtins', 'eval', source),
        ('__builtin__', 'eval', source),
        ('builtins', 'open', str(canary), 'w'),
        ('io', 'open', str(canary), 'w'),
        ('_io', 'FileIO', str(canary), 'w'),
        ('subprocess', 'getoutput', f'touch {canary}'),
        ('builtins', '__import__', CANARY),
        ('importlib', 'import_module', CANARY),
        ('runpy', 'run_module', CANARY),
        ('os', 'mkdir', str(canary)),
        ('pathlib', 'Path.touch', str(canary)),
        ('numpy', 'fromfile', str(canary)),
        ('numpy.testing._private.utils', 'runstring', source, '{}'),
        ('timeit', 'timeit', source),
        ('code', 'InteractiveInterpreter.runsource', source),
        ('mmengine.config', 'Config.fromstring', source, '.py'),
        ('mmengine.config.config', 'Config.fromfile', str(canary)),
        ('torch', 'load', str(canary)),
        ('torch.hub', 'load', CANARY, CANARY),
        ('torch.jit', 'CompilationUnit', source),
        ('torch.storage', '_load_from_bytes', source),
        ('torch._utils', '_rebuild_device_tensor_from_numpy', source),
        ('torch._tensor', '_rebuild_from_type_v2', source),
        ('torch.fx.graph_module', 'reduce_graph_module', source, source),
        ('mmengine.logging.history_buffer', 'HistoryBuffer', source),
        (CANARY, CANARY),
    ))
    function = name(module, attribute, protocol)
    values = b''.join(text(argument) for argument in arguments)
    packed = p.MARK + values + p.TUPLE
    return random.choice((
        function + packed + p.REDUCE,
        function + packed + p.NEWOBJ,
        function + packed + p.EMPTY_DICT + p.NEWOBJ_EX,
        p.MARK + function + values + p.OBJ,
        p.MARK + values + p.INST + f'{module}\n{attribute}\n'.encode(),
        # Something trusted is made to call it.
        name('builtins', 'getattr', protocol) + name(module, attribute, protocol)
        + text('__call__') + p.TUPLE2 + p.REDUCE + packed + p.REDUCE,
        name('collections', 'OrderedDict', protocol) + p.EMPTY_TUPLE + p.REDUCE
        + p.EMPTY_DICT + text('__reduce__') + function + p.SETITEM + p.BUILD,
        name('collections', 'OrderedDict', protocol) + text('update') + function
        + p.SETITEM,
        name('mmengine.logging.history_buffer', 'HistoryBuffer', protocol)
        + p.EMPTY_DICT + text('__init__') + function + p.SETITEM + p.BUILD
        + packed + p.REDUCE,
        name('builtins', 'map', protocol) + function + packed + p.TUPLE2 + p.REDUCE,
        name('functools', 'partial', protocol) + p.MARK + function + values + p.TUPLE
        + p.REDUCE + p.EMPTY_TUPLE + p.REDUCE,
        p.MARK + text('storage') + function + text('0') + text('cpu')
        + p.BININT1 + b'\x04' + p.TUPLE + p.BINPERSID,
        p.EXT1 + b'\x01' + packed + p.REDUCE,
    ))


_PLACES = (
    lambda called, weights: called,
    lambda called, weights: called + p.POP + weights,
    lambda called, weights: weights + called + p.POP,
    lambda called, weights: p.EMPTY_DICT + text('state_dict') + called + p.SETITEM,
    lambda called, weights: (p.EMPTY_DICT + p.MARK + text('meta') + called
                             + text('state_dict') + weights + p.SETITEMS),
    lambda called, weights: (p.EMPTY_DICT + p.MARK + text('state_dict') + weights
                             + text('optimizer') + p.EMPTY_LIST + called + p.APPEND
                             + p.SETITEMS),
    lambda called, weights: (p.EMPTY_DICT + p.MARK + text('state_dict') + weights
                             + called + text('a key') + p.SETITEMS),
    lambda called, weights: weights + called + p.BUILD,
)


def odd(random: Random, weights: bytes) -> bytes:
    """Return a pickle that is harmless but that torch.save would not write."""
    many = random.choice((10, 50, 1000, 30000))
    huge = struct.pack('<Q', random.choice((2**31, 2**40, 2**63 - 1)))
    part = random.choice((
        p.EMPTY_LIST * many + p.APPEND * (many - 1),
        p.EMPTY_TUPLE + (p.TUPLE1 * many),
        # Each tuple holds the last one twice: small here, endless when walked.
        p.NONE + (p.DUP + p.TUPLE2) * min(many, 1000),
        p.EMPTY_DICT + p.NONE + (p.DUP + p.TUPLE2) * min(many, 1000) + p.NONE
        + p.SETITEM,
        p.EMPTY_LIST + p.DUP + p.APPEND,
        p.EMPTY_DICT + p.DUP + text('state_dict') + p.PUT + b'0\n' + p.POP
        + p.PUT + b'1\n' + text('state_dict') + p.GET + b'1\n' + p.SETITEM,
        p.BINUNICODE8 + huge + b'a', p.BINBYTES8 + huge + b'a',
        p.BYTEARRAY8 + huge + b'a', p.FRAME + huge,
        p.LONG4 + struct.pack('<i', 2**31 - 1), p.LONG4 + struct.pack('<i', -1),
        p.NONE + p.LONG_BINPUT + struct.pack('<I', 2**31 - 1),
        p.BINGET + b'\x63', p.POP * 3, p.MARK * many, p.INT + b'9' * 20000 + b'\n',
        p.TUPLE3, p.BINPERSID, p.NEXT_BUFFER, p.READONLY_BUFFER, p.UNICODE + b'\\u',
        p.FLOAT + b'nan\n', p.BINFLOAT + b'\x7f\xf0' + bytes(6), b'\xff',
    ))
    return p.PROTO + bytes([random.choice((2, 4, 5, 9))]) + random.choice((
        part, p.EMPTY_DICT + p.MARK + text('state_dict') + weights + text('meta') + part
        + p.SETITEMS, p.EMPTY_DICT + text('state_dict') + part + p.SETITEM)) + p.STOP
