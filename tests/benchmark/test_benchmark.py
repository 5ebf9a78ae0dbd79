"""The benchmark: floor, rates, processes, refusals, exported contestants, the tool."""
import json
import mmap
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch

from conftest import ROOT
from mmfastvit import ArgumentError, FastViT, reparameterize
from mmfastvit.benchmark import Case, Result, benchmark
from mmfastvit.benchmark.backbones import check_equal
from mmfastvit.benchmark.build import build
from mmfastvit.benchmark.contestants import EXPORTED, line_up
from mmfastvit.benchmark.measure import Rates, floor
from mmfastvit.benchmark.own_process import OwnProcess
from mmfastvit.benchmark.report import plot
from mmfastvit.utils.errors import ProcessError
from mmfastvit.utils.timing import turn


def test_floor_counts_every_layer():
    model = reparameterize(FastViT('sa12', out_norm_cfg=None).eval())
    x = torch.zeros(1, 3, 256, 256)
    macs = floor(model, x, bandwidth=float('inf'), rate=1.)
    # As tools/summary.py counts, less attention's two products and the head.
    assert macs == pytest.approx(1.927e9, rel=1e-3)
    assert floor(model, x, bandwidth=1., rate=float('inf')) > 4 * 2 * 64 * 128**2


def test_nothing_is_faster_than_the_floor():
    deploy, = benchmark(Case('t8', (96, 96), forms=('deploy', )), 3, 0.05,
                        own_processes=False)
    assert 0 < deploy.floor < deploy.median


def test_rates_are_the_best_that_were_seen(monkeypatch):
    rates = Rates(torch.device('cpu'), torch.float32)
    for seconds in (2., 1., 3.):
        monkeypatch.setattr('mmfastvit.benchmark.measure._fastest',
                            lambda _, seconds=seconds: seconds)
        rates.measure()
    assert rates.bandwidth == 2 * 2**26 * 4 and rates.macs == 1024**3


def test_other_maps_are_refused():
    maps = [np.ones((1, 2, 2, 2))]
    check_equal(Case(), {'ours int8': [maps[0] * 2], 'this': maps,
                         'that': [maps[0] * (1 + 1e-6)]})
    for wrong in (maps[0] * 1.01, np.full_like(maps[0], np.nan), maps[0][..., :1]):
        with pytest.raises(ArgumentError, match='Times of different results'):
            check_equal(Case(), dict(this=maps, that=[wrong]))


def test_own_processes():
    """The same weights and maps as in one; what fails there is told here."""
    case = Case('t8', (64, 64), forms=('deploy', ), vs_timm=True)
    for entry in line_up(case):
        here = build(case, entry)
        with OwnProcess(case, entry) as there:
            check_equal(case, dict(here=here.take_maps(), there=there.take_maps()))
            assert there.shape() == here.shape() == (1, 3, 64, 64)
    with pytest.raises(ArgumentError, match='t9'):
        OwnProcess(Case('t9'), entry)
    with OwnProcess(case, entry) as there, \
            pytest.raises(ProcessError, match='is gone'):
        there._run(os._exit, 9)


def test_several_processes():
    case = Case('t8', (32, 32), forms=('deploy', ), processes=2)
    deploy, = benchmark(case, 1, 0.)
    assert deploy.pictures_per_second == pytest.approx(2 / deploy.median)
    one, = benchmark(replace(case, processes=1), 1, 0.)
    assert deploy.peak_bytes == 2 * one.peak_bytes
    with pytest.raises(ArgumentError, match='leave out --processes'):
        benchmark(case, 1, own_processes=False)


@pytest.mark.slow
def test_own_processes_end_with_their_parent(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text('''
import os
from mmfastvit.benchmark.contestants import Case, Entry
from mmfastvit.benchmark.own_process import OwnProcess
if __name__ == '__main__':
    there = OwnProcess(Case('t8', (64, 64)), Entry('mmfastvit', 'train', 'contiguous'))
    print(there._run(os.getpid), flush=True)
    os.kill(os.getpid(), 9)
''')
    done = subprocess.run([sys.executable, script], text=True, stdout=subprocess.PIPE)
    deadline = time.time() + 30
    while os.path.exists(f'/proc/{int(done.stdout)}'):
        assert time.time() < deadline
        time.sleep(0.1)


@pytest.mark.skipif(sys.platform == 'win32', reason='the system does not tell')
def test_page_faults_are_counted_for_one_call():
    """Of new memory, whatever the timer calls to warm up."""
    pages = 4096

    def touch():
        memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
        if hasattr(mmap, 'MADV_NOHUGEPAGE'):
            memory.madvise(mmap.MADV_NOHUGEPAGE)
        memory[::mmap.PAGESIZE] = bytes(pages)

    for number in (1, 5):
        assert turn(touch, number).page_faults == pytest.approx(pages, rel=0.1)


@pytest.mark.parametrize('changes, message', [
    (dict(mode='fast'), 'mode fast: allowed are inference'),
    (dict(forms=()), 'form missing'), (dict(dtype='int8'), 'dtype int8'),
    (dict(forms=('openvino', ), mode='live'), 'do not train'),
    (dict(forms=('int8', ), dtype='bfloat16'), 'in float32'),
    (dict(name='a_config.py', vs_timm=True, forms=('int8', )), 'leave out --vs timm'),
    (dict(name='a_config.py', vs_timm=True, checkpoint='a.pth'), 'random weights'),
    (dict(device='nothing'), "device 'nothing' does not work")])
def test_impossible_cases(changes, message):
    with pytest.raises(ArgumentError, match=message):
        Case(**changes)


def test_needs_no_mmcv():
    """The backbone's part runs with torch, mmengine and timm alone."""
    code = '''
import sys
for name in ('mmcv', 'mmdet', 'mmseg', 'mmpretrain'):
    sys.modules[name] = None
from mmfastvit.benchmark import Case, Result, benchmark
print(len(benchmark(Case('t8', (64, 64), vs_timm=True), 1, 0., False)))
'''
    found = subprocess.run([sys.executable, '-c', code], text=True, check=True,
                           stdout=subprocess.PIPE).stdout
    assert found == '4\n'


def test_low_precision():
    results = benchmark(Case('t8', (32, 32), dtype='bfloat16'), 1, 0.,
                        own_processes=False)
    assert [r.contestant for r in results] == [
        'mmfastvit train channels_last', 'mmfastvit deploy channels_last']
    results = benchmark(Case('t8', (32, 32), 2, 'frozen', 'bfloat16',
                             forms=('train', )), 1, 0., own_processes=False)
    assert results[0].saved_bytes > 0 and results[0].peak_bytes > 0


@pytest.mark.slow
@pytest.mark.skipif(torch.__version__ < '2.6', reason='the exporter needs more')
def test_exported_contestants():
    """Both networks, from files that compute the same maps; int8 has its own."""
    pytest.importorskip('openvino')
    pytest.importorskip('onnxruntime')
    results = benchmark(Case('t8', (64, 96), vs_timm=True, forms=(
        'deploy', 'onnxruntime', 'int8')), 1, 0., own_processes=False)
    assert [r.contestant for r in results][2:] == [
        'timm onnxruntime contiguous', 'timm int8 contiguous',
        'mmfastvit deploy channels_last', 'mmfastvit onnxruntime contiguous',
        'mmfastvit int8 contiguous']
    assert results[0].ratio == 1.  # of the baseline to itself


def test_tool_writes_json_and_a_picture(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'benchmark.py', 't8', '--size',
         '64', '64x96', '96', '--rounds', '1', '--form', 'deploy', '--vs', 'timm',
         '--one-process', '--out', tmp_path / 'found'],
        text=True, capture_output=True, check=True)
    assert 'ERROR' not in done.stderr and 'Warning' not in done.stderr
    assert 'timm re-parameterized contiguous' in done.stdout
    assert 'time ~ pixels^' in done.stdout
    content = json.loads((tmp_path / 'found.json').read_text())
    assert len(content['results']) == 3 * 3
    assert content['machine']['torch'] == torch.__version__
    assert (tmp_path / 'found.png').stat().st_size > 10000


def test_tool_times_functions():
    done = subprocess.run(
        [sys.executable, ROOT / 'tools' / 'benchmark.py', 't8', '--operations',
         '--size', '32', '--rounds', '1'], text=True, capture_output=True, check=True)
    assert '| feed_forward' in done.stdout and '| stem' in done.stdout


def test_a_picture_of_variants_beside_a_config(tmp_path):
    """Whose pictures are smaller than theirs."""
    results = [Result(Case(name), 'mmfastvit deploy', (1, 3, side, side), median=0.1,
                      spread=0., ratio=1., page_faults=0, peak_bytes=0, saved_bytes=0,
                      floor=None)
               for name, side in (('t8', 512), ('sa12', 512), ('a.py', 64))]
    plot(results, tmp_path / 'found.png')
    assert (tmp_path / 'found.png').stat().st_size > 10000


def test_forms_are_what_formats_have():
    pytest.importorskip('mmcv')
    from mmfastvit.export.formats import FORMATS
    for kind, own in groupby(sorted(EXPORTED.values(), key=lambda pair: pair[0]),
                             key=lambda pair: pair[0]):
        assert {dtype for _, dtype in own} == {None, *FORMATS[kind].dtypes}


@pytest.mark.parametrize('form', ['ncnn', 'ncnn-float16', *(
    pytest.param(form, marks=pytest.mark.slow) for form in
    ('litert', 'litert-int8', 'executorch', 'executorch-int8'))])
def test_backbones_in_files_for_phones(form):
    pytest.importorskip('ncnn')
    deploy, exported = benchmark(Case('t8', (64, 96), forms=('deploy', form)), 1, 0.,
                                 own_processes=False)
    assert exported.shape == deploy.shape and exported.median > 0
