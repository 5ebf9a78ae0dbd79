"""Training that is killed, and work directories moved or cut; then resumed."""
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from mmfastvit.engine.runner import train
from mmfastvit.utils.files import whole_file

from .case import Case, Kind
from .damage import cut
from .toy import epochs, note, toy_config

_MANY = 500  # epochs; it is killed before


def prepare(good: Path) -> None:
    train(toy_config(good, max_epochs=3))


def resuming(folder: Path, start: int, keep: int = -1) -> Case:
    """Return the case of going on; it must not start before epoch ``start``."""
    noted = folder / 'progress.txt'

    def run() -> list[int]:
        noted.unlink(missing_ok=True)
        train(toy_config(folder, max_epochs=start + 2, keep=keep), resume='auto')
        return epochs('started', noted)

    def goes_on(started: list[int]) -> bool:
        left = list((folder / 'work').glob('.unfinished-*'))
        return bool(started) and started[0] >= start and not left

    return Case(run, goes_on, refusable=False)  # a whole checkpoint is there


def killed(random: Random, folder: Path, good: Path) -> Case:
    """Kill training at any moment: no epoch that was saved is lost."""
    keep = random.choice((1, 1, 2, -1))
    pid = os.fork()
    if not pid:
        try:
            train(toy_config(folder, _MANY, keep))
        finally:
            os._exit(0)
    wait_for(lambda: epochs('saved', folder / 'progress.txt'), pid)
    time.sleep(random.random() ** 2 * 2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return resuming(folder, max(epochs('saved', folder / 'progress.txt')), keep)


def wait_for(condition: Callable[[], object], pid: int) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    raise TimeoutError('training does not start')


def _copy(folder: Path, good: Path) -> Path:
    shutil.copytree(good / 'work', folder / 'work')
    return folder / 'work'


def pointer(random: Random, folder: Path, good: Path) -> Case:
    """Lose ``last_checkpoint``, or let it name something else."""
    work = _copy(folder, good)
    path = work / 'last_checkpoint'
    text = random.choice((None, '', '\n', str(work / 'epoch_1.pth'), 'epoch_2.pth',
                          '/nowhere/epoch_3.pth', str(work / 'epoch_9.pth'), str(work),
                          '\0', 'ü' * 300, str(good / 'work' / 'epoch_3.pth')))
    path.unlink()
    if text is not None:
        path.write_text(text)
    return resuming(folder, 3)


def damaged_newest(random: Random, folder: Path, good: Path) -> Case:
    """Cut or empty the newest checkpoint: the one before it is whole."""
    work = _copy(folder, good)
    newest = work / 'epoch_3.pth'
    newest.write_bytes(cut(random, newest.read_bytes()))
    (work / 'last_checkpoint').write_text(str(random.choice(
        (newest, newest, work / 'epoch_2.pth'))))
    return resuming(folder, 2)


def moved(random: Random, folder: Path, good: Path) -> Case:
    """Move the work directory, with what an interrupted writer left behind."""
    work = _copy(folder, good)
    if random.random() < 0.5:
        (work / 'last_checkpoint').write_text('/nowhere/work/epoch_3.pth')
    writer = os.fork()
    if not writer:
        with whole_file(work / 'epoch_4.pth') as unfinished:
            unfinished.write_bytes(random.randbytes(1000))
            os._exit(0)
    os.waitpid(writer, 0)
    return resuming(folder, 3)


def finished(random: Random, folder: Path, good: Path) -> Case:
    """Resume what is complete, or start anew where checkpoints lie."""
    work = _copy(folder, good)
    resume = random.choice(('auto', str(work), str(work / 'epoch_3.pth')))
    before = (work / 'epoch_3.pth').read_bytes()

    def run() -> bytes:
        note('started', 3)
        train(toy_config(folder, max_epochs=3), resume=resume)
        return (work / 'epoch_3.pth').read_bytes()

    return Case(run, lambda found: found == before, ['work'])


KIND = Kind(prepare, (killed, pointer, damaged_newest, killed, moved, finished),
            count=60, seconds=60)
