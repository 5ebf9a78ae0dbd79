"""Whatever was found is drawn: any numbers, any letters."""
import numpy as np
import pytest

from mmfastvit_runtime import Prediction, describe, draw
from mmfastvit_runtime import text as text_module

PALETTE = [[220, 20, 60], [0, 200, 0], [40, 60, 255]]


@pytest.fixture
def fonts(monkeypatch):
    """DejaVu Sans, which matplotlib brings, and no other."""
    import matplotlib
    path = f'{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf'
    text_module.font_for.cache_clear()
    monkeypatch.setattr(text_module, 'FONTS', ('none.ttf', path))
    yield
    text_module.font_for.cache_clear()


def detection(boxes, classes=('circle', 'square', 'star'), **arrays) -> Prediction:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Prediction(
        dict(boxes=boxes, scores=np.full(len(boxes), 0.9, np.float32),
             labels=np.arange(len(boxes)) % len(classes), **arrays),
        dict(task='detection', classes=list(classes), palette=PALETTE))


def drawn(name: str, place=(5, 40)) -> np.ndarray:
    picture = np.full((60, 200, 3), 90, np.uint8)
    text_module.write_text(picture, name, place, np.array([0, 0, 255]))
    return picture


def test_any_box_is_drawn():
    random = np.random.RandomState(0)
    values = np.array([0, -1, 5, 30, 1e4, 2**31, -2**31, 1e30, -1e30, 3e38, np.nan,
                       np.inf, -np.inf], np.float32)
    picture = random.randint(0, 256, (30, 40, 3), np.uint8)
    for _ in range(20):
        found = detection(random.choice(values, (50, 4)))
        assert draw(picture, found).shape == picture.shape
        lines = describe(found)
        assert len(lines) == np.isfinite(found['boxes']).all(1).sum()
        assert not [line for line in lines if 'nan' in line or 'inf' in line]


def test_edges_beyond_the_picture_are_not_in_it():
    """Of pictures wider than 16 bits, too."""
    picture = np.zeros((40, 40000, 3), np.uint8)
    out = draw(picture, detection([[-1e30, 20, 39990, 1e30]]))
    assert out[30, 39990].any() and not out[30, 39992:].any()
    assert not out[30, 100:39990].any() and out[20, 20000].any()
    assert not draw(picture, detection([])).any()


def test_halves_are_the_mean():
    values = np.arange(256, dtype=np.uint8)
    first, second = (x.reshape(-1, 1).repeat(3, 1) for x in
                     (values.repeat(256), np.tile(values, 256)))
    labels = np.arange(256)[None].repeat(256, 0)
    found = Prediction(dict(labels=labels), dict(
        task='segmentation', classes=['x'] * 256,
        palette=values[:, None].repeat(3, 1).tolist()))
    out = draw(first.reshape(256, 256, 3), found)
    expected = (first * 0.5 + second * 0.5).astype(np.uint8).reshape(256, 256, 3)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize('name', ['grün', 'čeština', 'знак', 'αβγ', '✓'])
def test_letters_beyond_ascii(name, fonts):
    picture = drawn(name)
    assert (picture > 200).all(2).any()  # the letters
    assert (picture == (0, 0, 255)).all(2).any()  # their rim
    changed = np.argwhere((picture != 90).any(2))
    assert changed.min(0)[1] >= 3 and changed.max(0)[0] <= 46  # where it should be
    assert (picture != drawn('????'[:len(name)])).any()
    assert (picture != drawn(name.encode('ascii', 'backslashreplace').decode())).any()


def test_letters_that_no_font_has(fonts):
    np.testing.assert_array_equal(drawn('猫 1'), drawn('\\u732b 1'))
    np.testing.assert_array_equal(drawn('a\nb\x1b'), drawn('a\\nb\\x1b'))


@pytest.mark.parametrize('place', [(-50, 10), (190, 40), (5, -3), (5, 70), (900, 900),
                                   (-2, 59)])
def test_letters_at_the_border(place, fonts):
    assert drawn('grün', place).shape == (60, 200, 3)
    left = np.full((60, 200, 3), 90, np.uint8)
    inside = drawn('grün', (20, 40))
    shifted = drawn('grün', (10, 40))
    np.testing.assert_array_equal(inside[:, 10:], shifted[:, :-10])
    assert (inside != left).any()


def test_ascii_needs_no_font(monkeypatch):
    monkeypatch.setattr(text_module, 'font_for', None)
    assert (drawn('circle 0.90') == 255).any()
