"""Curves from what MMEngine's backend writes, joined and drawn."""
import pytest
from mmengine.visualization import LocalVisBackend
from PIL import Image

from helpers import call
from mmfastvit import ArgumentError, DataError
from mmfastvit.apis.plot_log import plot_runs, read_curves


def write_start(work, time, losses, metrics=(), epochs=True):
    """Write one start of training; ``losses`` and ``metrics`` by step."""
    backend = LocalVisBackend(str(work / time / 'vis_data'))
    extra = dict(epoch=1) if epochs else {}
    for step, loss in losses.items():
        backend.add_scalars(dict(lr=0.1, base_lr=0.1, loss=loss, time=1.,
                                 iter=step, **extra), step)
    for step, metric in dict(metrics).items():
        backend.add_scalars({'coco/bbox_mAP': metric, 'time': 1.}, step)


def test_a_resumed_run_is_one_curve(tmp_path):
    write_start(tmp_path, '20260101_000000', {10: 4., 20: 3., 30: 9.},
                {1: .1, 2: .9})
    write_start(tmp_path, '20260102_000000', {25: 2., 35: 1.}, {2: .2})
    (tmp_path / '20260103_000000').mkdir()  # as tools/test.py leaves it
    curves = read_curves(tmp_path)
    assert set(curves) == {'loss', 'lr', 'coco/bbox_mAP'}
    assert curves['loss'].unit == 'iteration'
    # What the first start logged after iteration 25 was lost, and done again.
    assert curves['loss'].points == {10: 4., 20: 3., 25: 2., 35: 1.}
    assert curves['coco/bbox_mAP'].unit == 'epoch'
    assert curves['coco/bbox_mAP'].points == {1: .1, 2: .2}


def test_a_run_without_epochs_evaluates_at_iterations(tmp_path):
    write_start(tmp_path, '20260101_000000', {10: 4.}, {10: .1}, epochs=False)
    assert read_curves(tmp_path)['coco/bbox_mAP'].unit == 'iteration'


def test_several_runs_in_one_picture(tmp_path):
    for name in 'ab':
        write_start(tmp_path / name, '20260101_000000',
                    {i: 1 / i for i in (1, 2, 3)}, {1: .5, 2: .6})
    file = tmp_path / 'b' / '20260101_000000' / 'vis_data' / 'scalars.json'
    result = call('plot_log', tmp_path / 'a', file, '--out', 'new/curves.png',
                  cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    picture = Image.open(tmp_path / 'new' / 'curves.png').convert('RGB')
    assert picture.width == 3 * 400  # loss, lr, coco/bbox_mAP
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert {(31, 119, 180), (255, 127, 14)} <= colours  # matplotlib's C0, C1


def test_mistakes(tmp_path):
    out = tmp_path / 'curves.png'
    with pytest.raises(DataError, match='holds no scalars'):
        plot_runs([tmp_path], out)
    write_start(tmp_path, '20260101_000000', {10: 4.})
    with pytest.raises(ArgumentError, match='scalar acc; they have loss, lr'):
        plot_runs([tmp_path], out, ['loss', 'acc'])
    scalars = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    for damage in ('{"loss": 1', '[1]', '{"loss": 1}', '{"step": "3"}'):
        text = scalars.read_text()
        scalars.write_text(text + damage + '\n')
        with pytest.raises(DataError, match='line 2, is no row of scalars'):
            plot_runs([tmp_path], out)
        scalars.write_text(text)
    with pytest.raises(ArgumentError, match='is the source'):
        plot_runs([tmp_path], scalars)
    assert scalars.read_text() == text
    assert not list(tmp_path.glob('*.png*')) + list(tmp_path.glob('.*'))
    result = call('plot_log', tmp_path / 'nowhere', '--out', out, cwd=tmp_path)
    assert result.returncode == 1
    assert 'holds no scalars' in result.stdout
    assert 'Traceback' not in result.stdout
