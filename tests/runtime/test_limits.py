"""What files from anywhere may ask for: pixels, masks, metadata."""
import os
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_models import metadata, objects, write_model  # noqa: E402

from mmfastvit_runtime import (  # noqa: E402
    ExportedModel,
    PredictionError,
    load,
    read_picture,  # noqa: E402
    segmentation,  # noqa: E402
)
from mmfastvit_runtime.headers import picture_size  # noqa: E402
from mmfastvit_runtime.metadata import parse  # noqa: E402
from mmfastvit_runtime.sources import open_video  # noqa: E402

PEAK = ('from mmfastvit_runtime import command\n'
        'try: command.main()\nfinally: '
        'print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])')


def write_bomb(path: Path, side: int) -> None:
    """Write a black PNG whose pixels take a thousandth of what they are."""
    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return len(content).to_bytes(4, 'big') + body + zlib.crc32(body).to_bytes(
            4, 'big')

    compressor = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    pixels = b''.join(compressor.compress(row * 100) for _ in range(side // 100))
    header = side.to_bytes(4, 'big') * 2 + bytes([1, 0, 0, 0, 0])
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
        + chunk(b'IDAT', pixels + compressor.flush()) + chunk(b'IEND', b''))


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_small_file_of_many_pixels_takes_no_memory(tmp_path):
    bomb = tmp_path / 'bomb.png'
    write_bomb(bomb, 30000)
    assert bomb.stat().st_size < 10**6
    model = write_model(tmp_path / 'model.onnx', 'classification')
    done = subprocess.run([sys.executable, '-c', PEAK, str(model), str(bomb)],
                          text=True, capture_output=True, env=os.environ)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    for text in ('bomb.png', '900,000,000 pixels', '134,217,728', '--max-pixels'):
        assert text in done.stderr
    assert int(done.stdout) < 400_000  # KB; the pixels take 2.7 GB


KINDS = {'png': np.uint8, 'jpg': np.uint8, 'bmp': np.uint8, 'webp': np.uint8,
         'tif': np.uint8, 'tiff': np.uint16, 'jp2': np.uint8, 'ppm': np.uint8}


@pytest.mark.parametrize('suffix', KINDS)
def test_every_format_tells_its_size_first(suffix, tmp_path):
    path = tmp_path / f'picture.{suffix}'
    assert cv2.imwrite(str(path), np.full((48, 72, 3), 200, KINDS[suffix]))
    assert read_picture(path, 48 * 72).shape == (48, 72, 3)
    with pytest.raises(PredictionError, match='72 x 48 = 3,456 pixels; allowed are'):
        read_picture(path, 48 * 72 - 1)
    content = path.read_bytes()
    for count in (0, 3, 10, len(content) // 2):  # damaged: refused, or read by OpenCV
        path.write_bytes(content[:count])
        try:
            read_picture(path)
        except PredictionError as error:
            assert str(path) in str(error)


def test_the_limit_can_be_lifted(tmp_path):
    """Also where Pillow's own would end it, and for formats that it does not know."""
    path = tmp_path / 'bomb.png'
    write_bomb(path, 14000)
    with path.open('rb') as file:
        assert picture_size(file, 'bomb') == (14000, 14000)
    unknown = tmp_path / 'picture.hdr'
    cv2.imwrite(str(unknown), np.zeros((12, 18, 3), np.float32))
    with pytest.raises(PredictionError, match='max_pixels=None'):
        read_picture(unknown)
    assert read_picture(unknown, None).shape == (12, 18, 3)


STEPS = {
    'edge': dict(type='ResizeEdge', scale=256, edge='short', backend='cv2',
                 interpolation='bilinear'),
    'edge, Pillow': dict(type='ResizeEdge', scale=256, edge='short', backend='pillow',
                         interpolation='bicubic'),
    'multiple': dict(type='ResizeToMultiple', size_divisor=32768),
    'fixed': dict(type='Resize', scale=[32768, 32768], keep_ratio=False)}


@pytest.mark.parametrize('name', STEPS)
@pytest.mark.parametrize('shape', [(1, 30000), (30000, 1)])
def test_lines_are_not_made_huge(name, shape, tmp_path):
    model = load(write_model(tmp_path / 'model.onnx', 'classification', said=metadata(
        'classification', resize=[STEPS[name]])))
    with pytest.raises(PredictionError, match=(
            rf'picture of {shape[1]:,} x {shape[0]:,} has .*pixels; allowed')):
        model(np.zeros((*shape, 3), np.uint8))


@pytest.mark.parametrize('shape', [(1, 30000), (30000, 1), (1, 2560), (1, 1)])
def test_lines_keep_a_pixel(shape, tmp_path):
    model = load(write_model(tmp_path / 'model.onnx', 'segmentation', said=metadata(
        'segmentation', resize=[dict(type='Resize', scale=[64, 64], keep_ratio=True)])))
    assert model(np.zeros((*shape, 3), np.uint8))['labels'].shape == shape


def test_frames_of_videos(tmp_path):
    path = tmp_path / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 5., (96, 64))
    writer.write(np.zeros((64, 96, 3), np.uint8))
    writer.release()
    assert open_video(path).count == 1
    with pytest.raises(PredictionError, match='frames of 96 x 64 = 6,144 pixels'):
        open_video(path, 6143)


def test_masks_and_objects(tmp_path):
    path = write_model(tmp_path / 'model.onnx', 'detection', objects(
        [[0, 0, 4, 4]] * 65, np.ones((65, 7, 7), np.float32)))
    picture = np.zeros((20, 30, 3), np.uint8)
    assert load(path, 610)(picture)['masks'].shape == (65, 20, 30)
    with pytest.raises(PredictionError, match='65 objects .* take 39,000 bytes'):
        load(path, 600)(picture)
    many = objects([[0, 0, 4, 4]] * 100_001)
    model = load(write_model(path, 'detection', many))
    with pytest.raises(PredictionError, match='at most 100,000 objects'):
        model(picture)


def test_metadata_is_bounded():
    for text in ('[' * 10**6, '{"a":' * 10**5, f'"{"x" * 2**24}"', '9' * 10**5):
        with pytest.raises(PredictionError, match='metadata is damaged'):
            parse(Path('model.onnx'), text)


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory) -> ExportedModel:
    return load(write_model(tmp_path_factory.mktemp('model') / 'model.onnx',
                            'segmentation'))


def random_logits(classes: int, *size: int) -> dict[str, np.ndarray]:
    logits = np.random.RandomState(0).randn(1, classes, *size).astype(np.float32)
    return dict(labels=logits.argmax(1), logits=logits)


@pytest.mark.parametrize('size, original', [
    ((16, 24), (35, 41)), ((7, 7), (300, 2)), ((64, 80), (13, 17)), ((1, 9), (5, 90)),
    ((9, 1), (1, 1)), ((30, 40), (31, 40))])
@pytest.mark.parametrize('band', [1, 100, 2**20])
def test_rows_at_a_time_are_the_whole(size, original, band, segmentor, monkeypatch):
    """The same labels as of whole maps, resized by OpenCV and by the toolbox.

    Where they differ, both classes' logits are equal but for roundings of float32.
    """
    monkeypatch.setattr(segmentation, 'BAND', band)
    found = random_logits(5, *size)
    labels = segmentor.restore(found, size, original)['labels']
    opencv = np.stack([cv2.resize(one, original[::-1]) for one in found['logits'][0]])
    toolbox = F.interpolate(torch.from_numpy(found['logits']), original,
                            mode='bilinear')[0].numpy()
    for whole in (opencv, toolbox):
        lost = whole.max(0) - np.take_along_axis(whole, labels[None].astype(int), 0)[0]
        assert lost.max() < 1e-5
        assert (labels != whole.argmax(0)).mean() < 0.01


def test_memory_does_not_grow_with_classes(segmentor):
    """12 bytes a pixel and class would be 1 GB here."""
    found, original = random_logits(60, 24, 32), (1200, 1600)
    tracemalloc.start()
    try:
        labels = segmentor.restore(found, (24, 32), original)['labels']
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < labels.nbytes + 30 * segmentation.BAND
