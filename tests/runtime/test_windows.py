"""Windows and labels of segmentors without a network: what files may say, and limits.
"""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from tiny_models import metadata, write_model  # noqa: E402

from mmfastvit_runtime import PredictionError, load, segmentation, windows  # noqa: E402

SLIDE = dict(crop_size=[8, 6], stride=[5, 4])


def open_model(tmp_path, max_pixels=2**27, **said):
    """Return a segmentor whose logits are the picture's channels."""
    said = metadata('segmentation', **{'slide': SLIDE, **said})
    return load(write_model(tmp_path / 'model.onnx', 'segmentation', said=said),
                max_pixels)


@pytest.mark.parametrize('shape', [(8, 6), (1, 1), (3, 40), (30, 2), (29, 31)])
@pytest.mark.parametrize('count', [1, 3])
def test_the_mean_of_windows(shape, count, tmp_path):
    """Of a model without neighbours it is what the whole picture gives."""
    model = open_model(tmp_path)
    pictures = np.random.RandomState(0).randint(0, 256, (count, 3, *shape), np.uint8)
    found, whole = model.run(pictures), model.engine.run(pictures)
    np.testing.assert_allclose(found['logits'], whole['logits'], rtol=1e-6)
    np.testing.assert_array_equal(found['labels'], whole['logits'].argmax(1))
    assert found['labels'].dtype == whole['labels'].dtype


def test_labels_some_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(windows, 'BAND', 50)
    test_the_mean_of_windows((29, 31), 3, tmp_path)


@pytest.mark.parametrize('slide', [
    {}, [], True, 'slide', dict(crop_size=[8, 6]), dict(SLIDE, more=1),
    dict(crop_size=[8, 6], stride=[0, 4]), dict(crop_size=[8, 6], stride=[-5, 4]),
    dict(crop_size=[8, 6], stride=[9, 4]), dict(crop_size=[8, 6], stride=[5.5, 4]),
    dict(crop_size=[8, 6], stride=[5]), dict(crop_size=8, stride=5),
    dict(crop_size=[2**16, 6], stride=[5, 4]), dict(crop_size=[8, None], stride=[5, 4]),
    dict(crop_size=[True, 6], stride=[1, 4])])
def test_bad_windows(slide, tmp_path):
    with pytest.raises(PredictionError, match='damaged: slide=.*: null, or crop'):
        open_model(tmp_path, slide=slide)


@pytest.mark.parametrize('said, message', [
    (dict(align_corners=1), 'align_corners=1, allowed: true or false'),
    (dict(pad_divisor=0), 'pad_divisor=0, allowed: null, or 1'),
    (dict(pad_divisor='32'), "pad_divisor='32', allowed")])
def test_bad_metadata(said, message, tmp_path):
    with pytest.raises(PredictionError, match=message):
        open_model(tmp_path, **said)


def test_windows_are_for_segmentors(tmp_path):
    said = metadata('classification', slide=SLIDE)
    with pytest.raises(PredictionError, match='of a classification; allowed: of a seg'):
        load(write_model(tmp_path / 'model.onnx', 'classification', said=said))


@pytest.mark.parametrize('slide', [None, 'absent'])
def test_files_without_windows(slide, tmp_path):
    """As those written before there were any."""
    said = metadata('segmentation', **({} if slide else dict(slide=None)))
    model = load(write_model(tmp_path / 'model.onnx', 'segmentation', said=said))
    assert model(np.zeros((30, 40, 3), np.uint8))['labels'].shape == (30, 40)


def test_too_many_windows(tmp_path):
    model = open_model(tmp_path, slide=dict(crop_size=[1, 1], stride=[1, 1]))
    for shape in ((300, 300, 3), (1, 2**17, 3)):
        with pytest.raises(PredictionError, match='than the 65,536 that are allowed'):
            model(np.zeros(shape, np.uint8))


def test_logits_that_do_not_fit(tmp_path):
    model = open_model(tmp_path, 1200)
    assert model.run(np.zeros((1, 3, 30, 40), np.uint8))['labels'].shape == (1, 30, 40)
    with pytest.raises(PredictionError, match='18 classes for 90 x 100 .*648,000'):
        model.run(np.zeros((6, 3, 100, 90), np.uint8))
    model.max_pixels = None
    assert model.run(np.zeros((6, 3, 100, 90), np.uint8))['labels'].shape[0] == 6


@pytest.mark.parametrize('change', [
    lambda logits: logits[:, :, 1:], lambda logits: logits[1:],
    lambda logits: logits[:, :0], lambda logits: logits[0, 0, 0, 0],
    lambda logits: logits.astype(str), lambda logits: logits[0]])
def test_other_logits_than_the_windows(change, tmp_path, monkeypatch):
    model = open_model(tmp_path)
    run = model.engine.run
    monkeypatch.setattr(model.engine, 'run', lambda batch: {
        name: change(array) if name == 'logits' else array
        for name, array in run(batch).items()})
    with pytest.raises(PredictionError, match='damaged: of .* windows'):
        model(np.zeros((30, 40, 3), np.uint8))


@pytest.mark.parametrize('size, original', [
    ((16, 24), (35, 41)), ((7, 7), (300, 2)), ((64, 80), (13, 17)), ((1, 9), (5, 90)),
    ((9, 1), (1, 1)), ((30, 40), (31, 40)), ((30, 40), (31, 1))])
@pytest.mark.parametrize('band', [1, 100, 2**20])
def test_aligned_corners(size, original, band, tmp_path, monkeypatch):
    """Labels of the toolbox; where they differ, both classes' logits are equal."""
    monkeypatch.setattr(segmentation, 'BAND', band)
    model = open_model(tmp_path, slide=None, align_corners=True)
    logits = np.random.RandomState(0).randn(1, 5, *size).astype(np.float32)
    found = dict(labels=logits.argmax(1), logits=logits)
    labels = model.restore(found, size, original)['labels']
    whole = F.interpolate(torch.from_numpy(logits), original, mode='bilinear',
                          align_corners=True)[0].numpy()
    lost = whole.max(0) - np.take_along_axis(whole, labels[None].astype(int), 0)[0]
    assert lost.max() < 1e-5
    assert (labels != whole.argmax(0)).mean() < 0.01
