"""Contestants, built from a case."""
from .contestants import Case, Contestant, Entry


def build(case: Case, entry: Entry) -> Contestant:
    """Build one contestant; all of a case have the same weights and inputs.

    Raises:
        ArgumentError: timm is missing, or the case cannot be run.
        DataError: A config's data is missing.
    """
    if case.whole_model:
        from .whole_models import whole_model
        return whole_model(case, entry)
    from .backbones import backbone
    return backbone(case, entry)
