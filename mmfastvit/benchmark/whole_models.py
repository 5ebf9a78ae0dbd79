"""A config's whole model, on a batch of the config's own data."""
import copy
from collections.abc import Sequence
from functools import partial

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.engine.config import load_config
from mmfastvit.engine.data import check_data
from mmfastvit.engine.memory_format import lay_out, to_channels_last
from mmfastvit.engine.runner import build_runner
from mmfastvit.models.reparam import reparameterize
from mmfastvit.utils.errors import ArgumentError

from . import timm_twin
from .contestants import EXPORTED, Case, Contestant, Entry
from .weights import randomize


def whole_model(case: Case, entry: Entry) -> Contestant:
    """Build one form of the model.

    Args:
        case: What to compare. ``size`` is for pipelines in which Resize and RandomCrop
            alone shape pictures.
        entry: Which form, and whose backbone.

    Raises:
        ArgumentError: The model holds no FastViT, or the pipeline makes pictures of
            another size than the case has.
        DataError: The data is missing.
    """
    cfg = load_config(case.name)
    split = 'train' if case.trains else 'test'
    check_data(cfg, split)
    backbone = cfg.model.backbone
    backbone.init_cfg, cfg.channels_last = None, False
    if case.vs_timm:  # which has none of these
        backbone.update(out_norm_cfg=None, drop_path_rate=0., frozen_stages=-1,
                        norm_eval=False, with_cp=False)
    cfg.randomness = dict(seed=0)  # the same heads and pictures for all
    loader = copy.deepcopy(cfg[f'{split}_dataloader'])
    # For one batch; processes that read on would take their part of each time.
    loader.num_workers, loader.persistent_workers = 0, False
    loader.pop('prefetch_factor', None)  # which they alone may have
    if case.batch or not case.trains:
        loader.batch_size = case.batch or 1
    if case.size:
        _set_size(cfg.model, loader.dataset.get('pipeline', ()), case.size)
    runner = build_runner(cfg, keep_log=False)
    batch = next(iter(runner.build_dataloader(loader)))
    model = runner.model.cpu().train(case.trains)
    if entry.library == 'timm':
        timm_twin.replace_by_twin(model)
    elif case.vs_timm:
        timm_twin.load_twin(model.backbone)
    elif case.checkpoint is None:
        randomize(model.backbone)
    else:
        load_weights(model, case.checkpoint)
    x = model.data_preprocessor(copy.deepcopy(batch), case.trains)['inputs']
    if case.size and tuple(x.shape[2:]) != case.size:
        raise ArgumentError(
            f'{case.name}: its pipeline makes pictures of {x.shape[2]}x{x.shape[3]} '
            f'where {case.size[0]}x{case.size[1]} was asked for: leave out --size.')
    if entry.form in EXPORTED:
        from .exported import exported_model
        model, quality = exported_model(cfg, model, entry.form, batch['inputs'],
                                        bool(case.checkpoint))
        return Contestant(entry.name, model, partial(model.test_step, batch),
                          case.trains, x, quality=quality)
    if not case.trains and entry.form != 'train':
        if entry.library == 'timm':
            from timm.utils.model import reparameterize_model
            model.backbone.timm_model = reparameterize_model(model.backbone.timm_model)
        else:
            model = reparameterize(model)
    quality = None
    if case.compares_files and entry.form == 'deploy':
        from .exported import weights_quality
        with case.autocast():
            quality = weights_quality(cfg, model, bool(case.checkpoint))
    if entry.memory_format == 'channels_last':
        model = (to_channels_last(model) if entry.library == 'timm'
                 else lay_out(model, case.trains, case.device))
    if case.mode == 'frozen':
        for module in model.backbone.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    maps = []
    if case.vs_timm:
        with torch.no_grad():
            maps = [feature.numpy() for feature in model.backbone(x)]
    model, x = model.to(case.device), x.to(case.device)
    if entry.form == 'compiled':
        model.backbone.compile()
    return Contestant(entry.name, model, partial(_run, case, model, batch),
                      case.trains, x, maps, quality)


def _set_size(model: ConfigDict, pipeline: Sequence[ConfigDict], size: tuple[int, int]
              ) -> None:
    """Let all pictures be resized to one size, whatever their shape."""
    height, width = size
    for transform in pipeline:
        scope, _, kind = transform.type.rpartition('.')
        if kind in ('Resize', 'RandomResize', 'RandomChoiceResize'):
            transform.clear()
            transform.update(type=f'{scope}.Resize' if scope else 'Resize',
                             scale=(width, height), keep_ratio=False)
        elif kind == 'RandomCrop':
            transform.crop_size = size
    if (model.get('data_preprocessor') or {}).get('size'):
        model.data_preprocessor.size = size


def _run(case: Case, model: nn.Module, batch: dict) -> Sequence[Tensor]:
    with case.autocast():
        if not case.trains:
            return model.test_step(batch)
        data = model.data_preprocessor(batch, True)
        return [model.parse_losses(model(**data, mode='loss'))[0]]
