"""Pictures are read as the toolboxes read them."""
import numpy as np
import pytest

from mmfastvit_runtime import read_picture


@pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'CMYK', 'I;16', 'turned'])
def test_pictures_are_read_as_the_toolboxes_do(mode, tmp_path):
    import mmcv
    from PIL import Image
    random = np.random.RandomState(0)
    picture = Image.fromarray(random.randint(0, 256, (12, 8, 3), np.uint8))
    path = tmp_path / ('picture.jpg' if mode in ('CMYK', 'turned') else 'picture.png')
    if mode == 'turned':
        exif = picture.getexif()
        exif[0x0112] = 6  # a camera held upright
        picture.save(path, exif=exif)
        assert read_picture(path).shape == (8, 12, 3)
    elif mode == 'I;16':
        Image.fromarray(random.randint(0, 2**16, (12, 8)).astype(np.uint16)).save(path)
    else:
        picture.convert(mode).save(path)
    np.testing.assert_array_equal(read_picture(path), mmcv.imread(str(path)))
