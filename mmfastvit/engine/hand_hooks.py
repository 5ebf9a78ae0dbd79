"""What training of hand meshes needs before it starts."""
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmfastvit.utils.errors import ArgumentError


@HOOKS.register_module()
class HandStatisticsHook(Hook):
    """Give the head what it takes from all hands of the training set.

    That is the mean hand, and how joints are sums of vertices, which a head that has a
    hand file knows. Weights that training starts from may be of other hands. A head
    that takes nothing is left as it is.

    Raises:
        ArgumentError: The training set is no ``FreiHANDDataset``, and no hand file says
            how joints are sums of vertices.
    """

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        head = model.head
        if not hasattr(head, 'fit'):
            return
        dataset = runner.train_dataloader.dataset
        if hasattr(dataset, 'hands'):
            runner.logger.info(head.fit(*dataset.hands()))
        elif head.fits_regressor:
            raise ArgumentError(
                f'A {type(dataset).__name__} does not tell joints and vertices of all '
                'hands, to which the joint regressor could be fitted. Train on one '
                'FreiHANDDataset, or name a hand file: model.head.hand_file=...')
