"""MMEngine's runner, which loads all or nothing, and executes nothing."""
from typing import Any

from mmengine.device import get_device
from mmengine.dist import broadcast
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import PretrainedInit, is_model_wrapper, revert_sync_batchnorm
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmfastvit.checkpoints.read import load_from_path_or_url, read_state_dict
from mmfastvit.checkpoints.whole_model import fill, load_weights
from mmfastvit.checkpoints.work_dir import find_latest

from .bad_samples import name_pictures
from .compiling import compile_backbone
from .hooks import ATOMIC, EpochSeedHook, WholeCheckpointHook
from .memory_format import lay_out
from .resume import resumable
from .safe_loaders import safe_loaders


class SafeRunner(Runner):
    """MMEngine's runner, fast memory formats and errors that name pictures added.

    Attributes:
        given_model: What takes the place of the config's model, if anything.
        logs_environment: Whether machine and config are logged at the start.
        trains: Whether the model will be trained.
    """

    given_model: nn.Module | None = None
    logs_environment = True
    trains = False

    def _log_env(self, env_cfg: dict) -> None:
        if self.logs_environment:
            super()._log_env(env_cfg)

    def build_model(self, model: Any) -> nn.Module:
        if self.given_model is not None:
            return self.given_model
        model = super().build_model(model)
        if not self.distributed and get_device() == 'cpu':
            model = revert_sync_batchnorm(model)  # torch 2.1 has it for GPUs only
        if self.cfg.get('channels_last', True):
            # Before DistributedDataParallel notes layouts.
            lay_out(model, self.trains, get_device())
        if self.trains:
            compile_backbone(model, self.cfg.get('compile_backbone', False))
        return model

    @staticmethod
    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> DataLoader:
        loader = Runner.build_dataloader(dataloader, *args, **kwargs)
        name_pictures(loader.dataset)
        return loader

    def wrap_model(self, model_wrapper_cfg: Any, model: nn.Module) -> nn.Module:
        if self.given_model is not None:  # an exported file has nothing to wrap
            return model.to(get_device())
        return super().wrap_model(model_wrapper_cfg, model)

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        super().register_default_hooks(hooks)
        if self.cfg.get('exact_resume', True):
            self.register_hook(EpochSeedHook())

    def register_hook(self, hook: Hook | dict, priority: Any = None) -> None:
        if isinstance(hook, dict):
            kind = hook['type']
            if isinstance(kind, str):
                kind = HOOKS.get(kind)
            if kind is CheckpointHook:
                hook = {**hook, 'type': WholeCheckpointHook}
        super().register_hook(hook, priority)

    def train(self) -> nn.Module:
        with safe_loaders():
            return super().train()

    def save_checkpoint(self, out_dir: str, filename: str,
                        file_client_args: dict | None = None, *args: Any,
                        backend_args: dict | None = None, **kwargs: Any) -> None:
        if file_client_args is None and backend_args is None and '://' not in out_dir:
            backend_args = dict(backend=ATOMIC)
        super().save_checkpoint(out_dir, filename, file_client_args, *args,
                                backend_args=backend_args, **kwargs)

    def load_or_resume(self) -> None:
        if self._resume and self._load_from is None and not self._has_loaded:
            latest = find_latest(self.work_dir)
            if latest is None:
                self.logger.warning(f'{self.work_dir} holds no checkpoint to go on '
                                    'from: training starts from the beginning.')
                self._resume = False
            else:
                self._load_from = str(latest)
        super().load_or_resume()

    def load_checkpoint(self, filename: str, map_location: Any = 'cpu',
                        strict: bool = False, revise_keys: Any = ()) -> dict:
        """Fill the model, and return what the checkpoint holds.

        A run that goes on needs all of it. One that starts from it may have other
        heads, unless ``strict``. ``revise_keys`` is MMEngine's and does nothing:
        the usual prefixes are found.

        Raises:
            CheckpointError: It does not fit; the model is unchanged.
        """
        model = self._bare_model()
        if self._resume:
            checkpoint = resumable(
                self, model, load_from_path_or_url(filename, map_location), filename)
        else:
            checkpoint = dict(state_dict=read_state_dict(filename))
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        trains = isinstance(self._train_loop, BaseLoop)
        fill(model, checkpoint['state_dict'], filename,
             other_heads=trains and not self._resume and not strict)
        self._has_loaded = True
        return checkpoint

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        self._resume = True  # hooks look at it, too
        built_with = self.seed
        super().resume(filename, *args, **kwargs)
        # Without a seed in the config, the order of the data came from a new one.
        loader = self.train_dataloader
        for sampler in (getattr(loader, 'sampler', None),
                        getattr(loader.batch_sampler, 'sampler', None)):
            if getattr(sampler, 'seed', None) == built_with:
                sampler.seed = self.seed

    def _init_model_weights(self) -> None:
        model = self._bare_model()
        init = getattr(model, 'init_cfg', None)
        if not (isinstance(init, dict) and not init.get('prefix')
                and init.get('type') in ('Pretrained', PretrainedInit)):
            super()._init_model_weights()
            return
        # MMEngine would load what fits, without a word, and initialise no more.
        load_weights(model, init['checkpoint'], other_heads=True)
        for tensor in model.state_dict().values():
            broadcast(tensor)

    def _bare_model(self) -> nn.Module:
        return self.model.module if is_model_wrapper(self.model) else self.model
