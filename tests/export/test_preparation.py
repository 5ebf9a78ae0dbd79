"""The pictures that a file is compared on."""
import pytest

from mmfastvit.export.preparation import STRIDE, _other_size

SIZES = [(64, 64), (96, 96), (224, 224), (160, 224), (224, 160), (800, 1333),
         (1333, 800), (61, 75), (33, 500)]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('like', SIZES)
def test_what_is_frozen_at_one_size_shows_at_the_other(size, like):
    """A side, or which of them is longer; and no map is of one pixel."""
    height, width = _other_size(size, like)
    assert not {height, width} & set(size)
    assert (height < width) == (size[0] >= size[1])
    assert STRIDE <= min(height, width) and max(height, width) < 1600
    for side in (height, width):  # some necks want that
        assert any((side - own) % STRIDE == 0 for own in like)
