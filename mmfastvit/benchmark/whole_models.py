"""A config's whole model, on a batch of the config's own data."""
import copy
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmfastvit.checkpoints.whole_model import load_weights
from mmfastvit.engine.config import load_config
from mmfastvit.engine.data import check_data
from mmfastvit.engine.memory_format import to_channels_last
from mmfastvit.engine.runner import build_runner
from mmfastvit.models.reparam import reparameterize

from .contestants import EXPORTED, Case, Contestant, Entry
from .weights import randomize


def whole_model(case: Case, entry: Entry) -> Contestant:
    """Build one form of the model.

    Args:
        case: What to compare; ``size`` does not apply, nor in training ``batch``.
        entry: Which form.

    Raises:
        ArgumentError: The model holds no FastViT.
        DataError: The data is missing.
    """
    cfg = load_config(case.name)
    split = 'train' if case.trains else 'test'
    check_data(cfg, split)
    cfg.model.backbone.init_cfg, cfg.channels_last = None, False
    cfg.randomness = dict(seed=0)  # the same heads and pictures for all
    runner = build_runner(cfg, keep_log=False)
    loader = copy.deepcopy(cfg[f'{split}_dataloader'])
    # For one batch; processes that read on would take their part of each time.
    loader.num_workers, loader.persistent_workers = 0, False
    loader.pop('prefetch_factor', None)  # which they alone may have
    if not case.trains:
        loader.batch_size = case.batch
    batch = next(iter(runner.build_dataloader(loader)))
    model = runner.model.cpu().train(case.trains)
    if case.checkpoint is None:
        randomize(model.backbone)
    else:
        load_weights(model, case.checkpoint)
    x = model.data_preprocessor(copy.deepcopy(batch))['inputs']
    if entry.form in EXPORTED:
        from .exported import exported_model
        model, quality = exported_model(cfg, model, entry.form, batch['inputs'],
                                        bool(case.checkpoint))
        return Contestant(entry.name, model, partial(model.test_step, batch),
                          case.trains, x, quality=quality)
    if not case.trains and entry.form != 'train':
        model = reparameterize(model)
    quality = None
    if case.compares_files and entry.form == 'deploy':
        from .exported import weights_quality
        with case.autocast():
            quality = weights_quality(cfg, model, bool(case.checkpoint))
    model, x = model.to(case.device), x.to(case.device)
    if entry.memory_format == 'channels_last':
        model = to_channels_last(model)
    if case.mode == 'frozen':
        for module in model.backbone.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    if entry.form == 'compiled':
        model.backbone.compile()
    return Contestant(entry.name, model, partial(_run, case, model, batch),
                      case.trains, x, quality=quality)


def _run(case: Case, model: nn.Module, batch: dict) -> Sequence[Tensor]:
    with case.autocast():
        if not case.trains:
            return model.test_step(batch)
        data = model.data_preprocessor(batch, True)
        return [model.parse_losses(model(**data, mode='loss'))[0]]
