"""What training of hand meshes needs before it starts."""
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmfastvit.models.hands.joint_regressor import fit_joint_regressor
from mmfastvit.utils.errors import ArgumentError


@HOOKS.register_module()
class JointRegressorHook(Hook):
    """Fit how joints are sums of vertices to the training set.

    Weights that training starts from may be of other hands. A head that has it from a
    hand file is left as it is.

    Raises:
        ArgumentError: The training set is no ``FreiHANDDataset``.
    """

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = model.head
        if not getattr(head, 'fits_regressor', False):
            return
        dataset = runner.train_dataloader.dataset
        if not hasattr(dataset, 'hands'):
            raise ArgumentError(
                f'A {type(dataset).__name__} does not tell joints and vertices of all '
                'hands, to which the joint regressor could be fitted. Train on one '
                'FreiHANDDataset, or name a hand file: model.head.hand_file=...')
        joints, vertices = dataset.hands()
        regressor = fit_joint_regressor(joints, vertices)
        error = regressor.numpy() @ vertices - joints
        runner.logger.info(
            f'Joints, fitted as sums of vertices to {len(joints):,} hands: '
            f'{1000 * (error ** 2).sum(-1).mean() ** 0.5:.2f} mm off.')
        with torch.no_grad():
            head.joint_regressor.copy_(regressor)
