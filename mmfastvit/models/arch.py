"""What ``arch`` stands for: a row of a family's table, by name or by its fields."""
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TypeVar

from mmfastvit.utils.errors import ArgumentError

Variant = TypeVar('Variant')


def resolve(arch: str | dict, variants: Mapping[str, Variant]) -> Variant:
    """Return the variant that ``arch`` names or describes.

    Args:
        arch: One of ``variants``, in any case, or a dict with the fields of a row.
        variants: The table, rows of one dataclass.

    Raises:
        ArgumentError: The name is unknown, the dict is incomplete or wrong,
            or ``arch`` is neither.
    """
    kind = type(next(iter(variants.values())))
    if isinstance(arch, str):
        if arch.lower() not in variants:
            raise ArgumentError(
                f'arch={arch!r} is unknown; the variants are {", ".join(variants)}. '
                'Give one of them, or a dict with the fields of '
                f'{kind.__module__}.{kind.__name__}.')
        return variants[arch.lower()]
    if not isinstance(arch, dict):
        raise ArgumentError(f'arch is a {type(arch).__name__}; give a name '
                            f'({", ".join(variants)}) or a dict.')
    known = [field.name for field in fields(kind)]
    required = [field.name for field in fields(kind) if field.default is MISSING]
    missing = [name for name in required if name not in arch]
    unknown = [name for name in arch if name not in known]
    if missing or unknown:
        raise ArgumentError(
            f'the arch dict has the fields {sorted(arch)}'
            + (f', lacks {missing}' if missing else '')
            + (f', and {unknown} are unknown' if unknown else '')
            + f'; required are {required}, allowed are {known}.')
    return kind(**arch)


def check_stages(variant: object, *names: str) -> None:
    """Make tuples of fields with an entry for each stage, or say what is wrong.

    ``depths`` says how many stages there are. A config brings lists.

    Raises:
        ArgumentError: A field is no sequence, or of another length.
    """
    for name in names:
        value = getattr(variant, name)
        if not isinstance(value, (list, tuple)):
            raise ArgumentError(f'{name}={value!r}: give a sequence, one entry '
                                'for each stage.')
        value = tuple(value)
        object.__setattr__(variant, name, value)
        if not value or len(value) != len(variant.depths):
            raise ArgumentError(
                f'{name}={value} has {len(value)} entries, depths='
                f'{variant.depths} {len(variant.depths)}: give one entry for each '
                'stage in each of them.')


def check_positive(variant: object, *names: str) -> None:
    """Refuse fields whose entries are not all positive integers.

    Raises:
        ArgumentError: One is not.
    """
    for name in names:
        if not all(isinstance(n, int) and n > 0 for n in getattr(variant, name)):
            raise ArgumentError(f'{name}={getattr(variant, name)}: give positive '
                                'integers.')
