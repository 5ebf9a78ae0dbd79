"""Hooks by which no work is lost, and a resumed run equals an unbroken one."""
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, is_main_process
from mmengine.fileio import register_backend
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmfastvit.checkpoints.work_dir import POINTER, numbered_files
from mmfastvit.utils.files import AtomicBackend, clear_unfinished, whole_file

ATOMIC = 'mmfastvit'  # the name of the backend; it replaces none
register_backend(ATOMIC, AtomicBackend, force=True)


class WholeCheckpointHook(CheckpointHook):
    """MMEngine's hook, which deletes only after the new file is whole.

    Checkpoints are deleted in the run's own folder only: the paths that a resumed
    file brings may be another run's.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        hub = runner.message_hub
        if self.save_best is not None:
            if len(self.key_indicators) == 1:
                self.best_ckpt_path = self._own(self.best_ckpt_path)
                if self.best_ckpt_path:
                    hub.update_info('best_ckpt', self.best_ckpt_path)
            else:
                for key, path in self.best_ckpt_path_dict.items():
                    self.best_ckpt_path_dict[key] = self._own(path)
                    if path:
                        hub.update_info(f'best_ckpt_{key}', self._own(path))
        if is_main_process() and Path(self.out_dir).is_dir():
            clear_unfinished(self.out_dir)
            self._warn(runner)

    def _own(self, path: str | None) -> str | None:
        """Return the file of that name in this run's folder."""
        return path and self.file_backend.join_path(self.out_dir, PurePath(path).name)

    def _warn(self, runner: Runner) -> None:
        """Name the checkpoints that this run will replace."""
        done = runner.epoch if self.by_epoch else runner.iter
        total = runner.max_epochs if self.by_epoch else runner.max_iters
        names = {self.filename_tmpl.format(step) for step in range(done + 1, total + 1)}
        replaced = [file.name for file in numbered_files(
            self.out_dir, PurePath(self.filename_tmpl.format(0))) if file.name in names]
        if replaced:
            way = ('a file later than the one resumed from' if done else
                   'an earlier run, which --resume would go on with')
            runner.logger.warning(
                f'{self.out_dir} holds {", ".join(replaced)} of {way}. This run will '
                'replace them; stop it and name another --work-dir to keep them.')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outgrown = None
        if self.max_keep_ckpts > 0:
            kept = self.keep_ckpt_ids
            if not kept or kept[-1] != step:
                if len(kept) == self.max_keep_ckpts:
                    outgrown = kept.popleft()
                kept.append(step)
                runner.message_hub.update_info('keep_ckpt_ids', list(kept))
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir, name, self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler, meta=meta,
            by_epoch=self.by_epoch, backend_args=self.backend_args, **self.args)
        if not is_main_process():
            return
        with whole_file(Path(runner.work_dir, POINTER)) as unfinished:
            unfinished.write_text(self.last_ckpt)
        if outgrown not in (None, step):
            old = self.file_backend.join_path(
                self.out_dir, self.filename_tmpl.format(outgrown))
            if self.file_backend.isfile(old):
                self.file_backend.remove(old)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        with self._deleting_later():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _deleting_later(self) -> Iterator[None]:
        """Delete at the end what is deleted inside, but for what was saved anew."""
        backend, later = self.file_backend, _DeletesLater(self.file_backend)
        self.file_backend = later
        try:
            yield
        finally:
            self.file_backend = backend
        saved = {self.last_ckpt, getattr(self, 'best_ckpt_path', None),
                 *getattr(self, 'best_ckpt_path_dict', {}).values()}
        for path in later.paths:
            if path not in saved:
                backend.remove(path)


class _DeletesLater:
    """A file backend that only notes what it is told to delete."""

    def __init__(self, backend: Any):
        self.backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        """Note ``path``."""
        self.paths.append(path)


class EpochSeedHook(Hook):
    """Seed each epoch by its place in the run, in all processes and workers.

    So an epoch needs to know nothing of those before it, and a resumed run draws
    the numbers of an unbroken one: Python's, numpy's and torch's. Validation in
    between does not matter, and nothing is kept in the checkpoint. Workers that
    would live on (``persistent_workers``) start anew, since nobody can seed them.
    """

    priority = 'HIGHEST'

    def __init__(self):
        self.start_worker: Callable | None = None  # the config's

    def before_train_epoch(self, runner: Runner) -> None:
        place = runner.seed, runner.iter
        seed_all(*place)
        loader = runner.train_dataloader
        if not isinstance(loader, DataLoader):
            return
        if not isinstance(loader.worker_init_fn, _SeedWorker):
            self.start_worker = loader.worker_init_fn
        # MMEngine's own gives a worker the same numbers in each epoch.
        loader.worker_init_fn = _SeedWorker(self.start_worker, (*place, get_rank()))
        loader._iterator = None


class _SeedWorker:
    """What a data loader's worker calls at its start; it can be pickled."""

    def __init__(self, start: Callable | None, place: tuple[int, ...]):
        self.start = start
        self.place = place

    def __call__(self, worker: int) -> None:
        if self.start is not None:
            self.start(worker)
        seed_all(*self.place, worker + 1)


def seed_all(*place: int) -> None:
    """Seed Python, numpy and torch by several numbers.

    Neighbouring numbers give unrelated streams.
    """
    words = np.random.SeedSequence(place).generate_state(8)
    random.seed(words[:4].tobytes())
    np.random.seed(words[4:6])
    torch.manual_seed(int.from_bytes(words[6:].tobytes(), 'little'))
