"""Pictures of what a model predicts, through the toolboxes' visualisers."""
from pathlib import Path

import torch
from mmengine.config import Config

from .errors import ArgumentError
from .runner import build_runner, check_data, load_weights


@torch.no_grad()
def draw_predictions(cfg: Config, checkpoint: str, out: str,
                     num_pictures: int = 4) -> list[Path]:
    """Draw ground truth (left) and prediction (right) of test pictures.

    For detectors and segmentors.

    Args:
        cfg: From :func:`mmfastvit.runner.load_config`.
        checkpoint: Checkpoint of the whole model.
        out: Folder for the pictures, made if it does not exist.
        num_pictures: How many to draw, from the first on.

    Returns:
        The files written.

    Raises:
        ArgumentError: The config is a classifier's.
        CheckpointError: The checkpoint cannot be read or does not fit.
        DataError: The test data is missing.
    """
    import mmcv  # here, so that the backbone needs no mmcv
    check_data(cfg, 'test')
    runner = build_runner(cfg)
    load_weights(runner.model, checkpoint)
    runner.model.eval()
    loader = runner.test_dataloader
    runner.visualizer.dataset_meta = loader.dataset.metainfo
    files = []
    if cfg.default_scope == 'mmpretrain':
        raise ArgumentError('classifiers cannot be drawn yet; give the config of '
                            'a detector or segmentor.')
    for i in range(min(num_pictures, len(loader.dataset))):
        batch = loader.collate_fn([loader.dataset[i]])
        sample = runner.model.test_step(batch)[0].cpu()
        picture = mmcv.imread(sample.img_path, channel_order='rgb')
        files.append(Path(out) / f'{i:04d}_{Path(sample.img_path).stem}.png')
        runner.visualizer.add_datasample(files[-1].stem, picture, sample,
                                         out_file=str(files[-1]))
    return files
