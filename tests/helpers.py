"""What several test files need."""
import copy
import json
import subprocess
import sys
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from torch import nn
from torch.testing import assert_close

from conftest import ROOT
from mmfastvit import FasterViT, FastViT, convert_state_dict
from mmfastvit.benchmark import contestants
from mmfastvit.benchmark.backbones import check_equal
from mmfastvit.benchmark.build import build as build_contestant
from mmfastvit.benchmark.weights import randomize
from mmfastvit.datasets.checks.classes import heads
from mmfastvit.engine.config import load_config
from mmfastvit.engine.runner import build_runner
from mmfastvit.models.backbone import Backbone
from mmfastvit.models.fastvit import VARIANTS
from mmfastvit.models.fastvit.variants import resolve_arch

FASTVIT = ['t8', 't12', 's12', 'sa12', 'sa24', 'sa36', 'ma36']
# MCi1 to MCi4 have what MCi0 and MCI3_KIND have, more often.
ALL = [*FASTVIT, 'mci0', *(pytest.param(arch, marks=pytest.mark.slow)
                           for arch in ('mci1', 'mci2', 'mci3', 'mci4'))]
SA12_KIND = dict(VARIANTS['sa12'].__dict__, depths=(1, 1, 1, 1),
                 embed_dims=(32, 64, 128, 256))
MCI3_KIND = dict(depths=(1, 1, 1, 1, 1), embed_dims=(32, 64, 128, 256, 512),
                 mlp_ratio=2, token_mixers=('repmixer',) * 3 + ('attention',) * 2,
                 downsample_act=True, attention_norm='LN', stem_scale=False,
                 embedding_dims=24)
# With all that a FasterViT may have, and 2 x 2 windows of a picture of 150x150.
FASTERVIT_KIND = dict(depths=(1, 1, 2, 1), embed_dims=(16, 32, 64, 128),
                      stem_channels=8, num_heads=(2, 2, 4, 8),
                      window_sizes=(7, 7, 7, 7), layer_scale_init_value=1e-5,
                      propagates=True)
BOTH = [*ALL, pytest.param(FASTERVIT_KIND, id='fastervit')]
EXPORTED_KINDS = ['maskrcnn', 'fpn', 'classifier', 'backbone',
                  pytest.param('retinanet', marks=pytest.mark.slow)]
# Small enough for seconds: what is tested is the plumbing.
SMALL = ['train_dataloader.batch_size=2', 'train_dataloader.num_workers=0',
         'train_dataloader.persistent_workers=False',
         'val_dataloader.num_workers=0',
         'val_dataloader.persistent_workers=False',
         'test_dataloader.num_workers=0',
         'test_dataloader.persistent_workers=False',
         'train_cfg.val_interval=2', 'default_hooks.logger.interval=1']


def call(tool, *arguments, cwd, timeout=300):
    """Run a tool as a user does."""
    return subprocess.run(
        [sys.executable, ROOT / 'tools' / f'{tool}.py', *map(str, arguments)],
        cwd=cwd, timeout=timeout, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)


def family_of(arch: str | dict) -> type[Backbone]:
    """Return the family that a variant is of, named or described."""
    if isinstance(arch, dict):
        return FasterViT if 'num_heads' in arch else FastViT
    return FastViT if arch in VARIANTS else FasterViT


def side_of(arch: str | dict) -> int:
    """Return the side of a small picture in which every parameter counts."""
    return 64 if family_of(arch) is FastViT else 128  # several windows


def build(arch: str | dict = 'sa12', double: bool = True, **kwargs) -> Backbone:
    model = randomize(family_of(arch)(arch, **kwargs))
    return model.double() if double else model


def assert_own_gradients(model: nn.Module) -> None:
    """No two parameters' gradients lie in the same memory.

    Adding to one, or clipping it, would change the other.
    """
    spans = sorted((p.grad.data_ptr(), p.grad.data_ptr() + p.grad.nbytes, name)
                   for name, p in model.named_parameters() if p.grad is not None)
    for (_, end, name), (start, _, other) in pairwise(spans):
        assert end <= start, f'{name} and {other}'


def build_timm(arch: str | dict) -> nn.Module:
    """Return timm's network of a variant, by name or by its fields."""
    if isinstance(arch, str):
        return randomize(timm.create_model(f'fastvit_{arch}', num_classes=7)).double()
    from timm.layers import LayerNorm2d
    from timm.models.fastvit import FastVit, RepConditionalPosEnc
    variant = resolve_arch(arch)
    stages = range(len(variant.depths))
    return randomize(FastVit(
        layers=variant.depths, token_mixers=variant.token_mixers,
        embed_dims=variant.embed_dims, mlp_ratios=[variant.mlp_ratio for _ in stages],
        downsamples=[i > 0 for i in stages],
        se_downsamples=[i in variant.downsample_se for i in stages],
        pos_embs=tuple(RepConditionalPosEnc if mixer == 'attention' else None
                       for mixer in variant.token_mixers),
        num_classes=variant.embedding_dims or 7, lkc_use_act=variant.downsample_act,
        norm_layer=partial(LayerNorm2d, eps=1e-5) if variant.attention_norm == 'LN'
        else nn.BatchNorm2d, stem_use_scale_branch=variant.stem_scale)).double()


def twin_of(timm_model: nn.Module, arch: str | dict) -> FastViT:
    """Return our FastViT, all stages, with timm's weights, by our key conversion."""
    stages = len(resolve_arch(arch).depths)
    model = FastViT(arch, out_indices=range(stages), out_norm_cfg=None).double()
    model.load_state_dict(convert_state_dict(timm_model.state_dict()))
    return model


def timm_features(model: nn.Module, x: torch.Tensor):
    return tuple(model.forward_intermediates(x, intermediates_only=True))


def backbones(case: contestants.Case) -> list[contestants.Contestant]:
    """Build all that a benchmark compares, in this process."""
    found = [build_contestant(case, entry) for entry in contestants.line_up(case)]
    check_equal(case, {c.name: c.take_maps() for c in found})
    return found


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference over the largest value."""
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the difference's norm over the norm."""
    return ((actual - expected).norm() / expected.norm()).item()


def assert_outputs_close(actual, expected, relative: float) -> None:
    """Compare maps, each to ``relative`` of its own largest value."""
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        assert_close(a, e, rtol=0, atol=relative * e.abs().max().item())


TASKS = ('maskrcnn', 'fpn', 'classifier')  # one of each toolbox
CHANGES = {  # what a T8 changes in the config of each task on the shapes
    'maskrcnn': {'model.neck.in_channels': [48, 96, 192, 384]},
    'retinanet': {'model.neck.in_channels': [96, 192, 384]},
    'fpn': {'model.neck.in_channels': [48, 96, 192, 384]},
    'classifier': {'model.neck.in_channels': 384, 'model.head.in_channels': 768},
}


def shapes_case(task: str, root: Path, folder: Path) -> tuple[Config, Path]:
    """Return a T8's config on the shapes in ``root``, and a checkpoint of it."""
    name = {'classifier': 'fastvit_sa12_shapes',
            'retinanet': 'retinanet_fastvit_sa12_custom'}.get(
                task, f'{task}_fastvit_sa12_shapes')
    options = {'model.backbone.arch': 't8', 'randomness.seed': 0, **CHANGES[task]}
    for split in ('train', 'val', 'test'):
        options |= {
            f'{split}_dataloader.dataset.data_root':
                f'{root}/crops' if task == 'classifier' else f'{root}/',
            f'{split}_dataloader.num_workers': 0,
            f'{split}_dataloader.persistent_workers': False}
        if task in ('maskrcnn', 'retinanet') and split != 'train':
            options[f'{split}_evaluator.ann_file'] = \
                f'{root}/annotations/instances_val.json'
    cfg = load_config(ROOT / 'configs' / f'{name}.py', options,
                      work_dir=folder / 'work')
    model = randomize(build_runner(copy.deepcopy(cfg)).model)
    if task == 'classifier':  # scores that roundings tell apart
        model.head.fc.weight.data.mul_(100)
    torch.save(model.state_dict(), folder / 'model.pth')
    return cfg, folder / 'model.pth'


def load_case(arch, reference, fill):
    """Return a genuine checkpoint of the reference's, and its outputs."""
    table = json.loads((reference / f'fastvit_{arch}.json').read_text())
    apple = {k: torch.from_numpy(v)
             for k, v in fill.fill_all(table['unfused']).items()}
    return apple, np.load(reference / f'fastvit_{arch}.npz')


@cache
def _config(name: str) -> Config:
    return load_config(ROOT / 'configs' / name)


def config_of(name: str) -> Config:
    """Return one of our configs, read once."""
    return copy.deepcopy(_config(name))


def build_model(name: str) -> tuple[Config, nn.Module]:
    """Return a config and its model, on new weights."""
    cfg = config_of(name)
    init_default_scope(cfg.default_scope)
    from mmengine.registry import MODELS
    for part in ('backbone', 'neck'):
        cfg.model.get(part, {}).pop('init_cfg', None)
    if 'teacher' in cfg.model:
        cfg.model.teacher.update(model_name='resnet18', pretrained=False)
    if cfg.default_scope == 'mmseg':
        times = 2 if cfg.model.backbone.type == 'FasterViT' else 1
        cfg.model.data_preprocessor.size = (96 * times, 96 * times)
    if cfg.default_scope == 'mmpretrain':
        cfg.model.data_preprocessor = cfg.data_preprocessor
    if cfg.model.type == 'Mask2Former':  # not padded to 1024x1024
        cfg.model.data_preprocessor.batch_augments = None
    if cfg.model.type == 'CascadeRCNN':  # three heads: few regions are enough
        for parts in (cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn):
            parts.max_per_img = 50
        cfg.model.test_cfg.rcnn.max_per_img = 20
    # Torch 2.1 runs synchronised batch norms on accelerators only.
    return cfg, revert_sync_batchnorm(MODELS.build(cfg.model))


def make_batch(cfg: Config) -> dict:
    """Return two pictures with ground truth, as the data loader collates them."""
    # Several windows for FasterViT, which of one leaves carrier tokens out.
    times = 2 if cfg.model.backbone.type == 'FasterViT' else 1
    if cfg.model.type == 'DINO':  # as many positions as queries, or more
        times = 3
    sizes = [(3, 96 * times, 64 * times), (3, 64 * times, 96 * times)]
    if cfg.model.type == 'RTMDet':  # whose masks have to be of one size
        sizes = sizes[:1] * 2
    if cfg.default_scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs
        number = min(heads(cfg).values(), default=80)  # Mask2Former's has no such head
        return demo_mm_inputs(
            2, sizes, num_items=[2, 1], num_classes=number,
            with_mask='segm' in cfg.val_evaluator.metric)
    if cfg.default_scope == 'mmseg':
        from mmseg.structures import SegDataSample
        sizes, samples = sizes[:1] * 2, []
        for _, height, width in sizes:
            labels = torch.randint(cfg.model.decode_head.num_classes,
                                   (1, height, width))
            shape = (height, width)
            samples.append(SegDataSample(
                gt_sem_seg=PixelData(data=labels),
                metainfo=dict(ori_shape=shape, img_shape=shape)))
    elif cfg.model.type == 'HandMeshEstimator':
        from mmfastvit.models.hands import HandDataSample
        sizes, samples = sizes[:1] * 2, [HandDataSample() for _ in sizes]
        for sample in samples:
            for name, shape in (('gt_uv', (21, 2)), ('gt_joints', (21, 3)),
                                ('gt_vertices', (778, 3))):
                sample.set_field(torch.rand(shape), name)
    else:
        from mmpretrain.structures import DataSample
        sizes = [(3, 64 * times, 64 * times)] * 2
        samples = [DataSample().set_gt_label(i) for i in range(2)]
    return dict(inputs=[torch.randint(256, size, dtype=torch.uint8)
                        for size in sizes], data_samples=samples)


def macs_by_hand(arch, size, train):
    """Sum up a network's multiply-accumulates from the variant's numbers.

    ``train`` adds the small branches: 1x1 beside 3x3, 3x3 beside 7x7.
    """
    variant = VARIANTS[arch]
    c, n = variant.embed_dims[0], (size // 4)**2
    small = train and variant.stem_scale
    macs = 4 * n * c * 3 * (9 + small) + n * c * (9 + small) + n * c * c
    for i, c in enumerate(variant.embed_dims):
        n = (size // (4 * 2**i))**2
        if i:
            macs += n * c * (49 + 9 * train) + n * c * c
        if i in variant.downsample_se:
            macs += 2 * c * (c // 4)
        attends = variant.token_mixers[i] == 'attention'
        mixer = n * 4 * c * c + 2 * n * n * c if attends \
            else n * c * (9 + train)
        ffn = n * c * 49 + 2 * n * variant.mlp_ratio * c * c
        macs += attends * n * c * 49 + variant.depths[i] * (mixer + ffn)
    c *= 2
    outputs = variant.embedding_dims or 1000
    return macs + n * c * (9 + train) + 2 * c * (c // 16) + outputs * c
