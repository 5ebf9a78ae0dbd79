"""Pictures are drawn for all three toolboxes, from data sets and files."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from helpers import TASKS, shapes_case
from mmfastvit import ArgumentError, DataError
from mmfastvit.apis.visualize import _to_rgb, draw_ground_truth, draw_predictions
from mmfastvit.datasets.shapes import ShapesSpec, generate_shapes


@pytest.fixture(scope='module', params=TASKS)
def case(request, tmp_path_factory):
    """A config with data, and a checkpoint of its model."""
    folder = tmp_path_factory.mktemp('visualize')
    root = generate_shapes(folder / 'shapes', ShapesSpec(2, 2, 64))
    cfg, checkpoint = shapes_case(request.param, root, folder)
    yield cfg, checkpoint, root
    DefaultScope._instance_dict.clear()


def shape(path):
    """Return the size of a picture that shows something."""
    picture = cv2.imread(str(path))
    assert picture.std() > 5
    return picture.shape[:2]


def test_test_pictures_and_features(case, tmp_path, capfd):
    cfg, checkpoint, _ = case
    before = set(Path(cfg.work_dir).rglob('*'))
    files = draw_predictions(cfg, checkpoint, tmp_path, num_pictures=1,
                             features=True)
    assert set(Path(cfg.work_dir).rglob('*')) == before
    assert f'{checkpoint}: ' in ''.join(capfd.readouterr())  # it says what it read
    assert files == sorted(tmp_path.iterdir()) and len(files) == 2
    assert files[1].stem == f'{files[0].stem}_features'
    height, width = shape(files[1])
    assert width > (1 + len(cfg.model.backbone.get('out_indices', range(4)))) * 250
    if cfg.default_scope == 'mmdet':
        assert shape(files[0]) == (64, 128)  # ground truth, prediction


def test_ground_truth(case, tmp_path):
    cfg, _, _ = case
    for split in ('train', 'val'):
        files = draw_ground_truth(cfg, tmp_path / split, split, num_pictures=2)
        assert len(files) == 2
        for path in files:
            shape(path)


def test_a_folder_a_file_and_a_video(case, tmp_path, monkeypatch):
    # MMDetection varies the masks' colours at random.
    monkeypatch.setattr('mmdet.visualization.local_visualizer.jitter_color', tuple)
    cfg, checkpoint, root = case
    files = draw_predictions(cfg, checkpoint, tmp_path / 'folder', root / 'val')
    assert [path.name for path in files] == ['000001.png', '000002.png']
    single, = draw_predictions(cfg, checkpoint, tmp_path / 'file',
                               root / 'val' / '000002.png')
    assert np.array_equal(cv2.imread(str(single)), cv2.imread(str(files[1])))
    source = str(tmp_path / 'clip.avi')
    writer = cv2.VideoWriter(source, cv2.VideoWriter_fourcc(*'MJPG'), 5., (96, 64))
    for value in range(3):
        writer.write(np.full((64, 96, 3), 80 * value, np.uint8))
    writer.release()
    video, = draw_predictions(cfg, checkpoint, tmp_path / 'video', source)
    assert [path.name for path in video.parent.iterdir()] == ['clip.mp4']
    capture = cv2.VideoCapture(str(video))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT),
            capture.get(cv2.CAP_PROP_FPS)) == (3, 5)


@pytest.mark.parametrize('name, content, message', [
    ('nowhere', None, 'nowhere is not there; give a picture or a folder'),
    ('nowhere.mp4', None, 'nowhere.mp4 is not there, or is no video'),
    ('broken.mp4', b'no video', 'broken.mp4 is not there, or is no video'),
    ('empty.jpg', b'', 'empty.jpg'),
    ('broken.png', b'\x89PNG broken', 'broken.png'),
])
def test_what_cannot_be_read(case, tmp_path, name, content, message):
    cfg, checkpoint, _ = case
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        draw_predictions(cfg, checkpoint, tmp_path / 'out', tmp_path / name)
    assert not (tmp_path / 'out').exists() or not list((tmp_path / 'out').iterdir())


def test_pictures_that_become_nothing(case, tmp_path):
    """A line as small as the config makes pictures has no pixel left."""
    cfg, checkpoint, _ = case
    path = tmp_path / 'line.png'
    cv2.imwrite(str(path), np.zeros((1, 2560, 3), np.uint8))
    try:
        drawn, = draw_predictions(cfg, checkpoint, tmp_path / 'out', path)
    except DataError as error:
        assert 'line.png, 2560 x 1: ' in str(error) and 'Crop it' in str(error)
    else:  # the classifier's pipeline does not keep the ratio
        assert drawn.exists()


def test_sources_are_never_replaced(case, tmp_path):
    cfg, checkpoint, root = case
    for source in (root / 'val', root / 'val' / '000001.png'):
        with pytest.raises(ArgumentError, match='Name another folder'):
            draw_predictions(cfg, checkpoint, root / 'val', source)


@pytest.mark.parametrize('case', ['classifier'], indirect=True)
def test_drawings_of_a_folder_with_a_damaged_picture(case, tmp_path):
    """One damaged picture ends nothing, and no drawing replaces another."""
    cfg, checkpoint, root = case
    source, out = tmp_path / 'source', tmp_path / 'out'
    source.mkdir()
    picture = cv2.imread(str(root / 'val' / '000001.png'))
    for name in ('a.jpg', 'a.png', 'a_features.png', 'b.jpg'):
        assert cv2.imwrite(str(source / name), picture)
    (source / 'a_broken.jpg').write_bytes(b'no picture')
    with pytest.raises(DataError, match='1 of the pictures could not be read; .* has '
                       'the 8 drawings of the others. .*a_broken.jpg'):
        draw_predictions(cfg, checkpoint, out, source, features=True)
    assert {path.name for path in out.iterdir()} == {
        f'{name}{part}.png' for name in ('a.jpg', 'a.png', 'a_features.png', 'b')
        for part in ('', '_features')}


@pytest.mark.parametrize('channels, shown', [
    (1, (0, 0, 0)), (2, (None, 1, 0)), (3, (2, 1, 0)), (4, (2, 1, 0))])
def test_pictures_of_other_channels_are_drawn(channels, shown):
    picture = torch.randint(256, (channels, 4, 5), dtype=torch.uint8)
    drawn = _to_rgb(picture)
    assert drawn.shape == (4, 5, 3)
    for i, source in enumerate(shown):
        expected = 0 * picture[0] if source is None else picture[source]
        assert np.array_equal(drawn[..., i], expected.numpy())
