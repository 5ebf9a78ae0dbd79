"""Make a virtual environment with everything the project needs.

Standard library only: it runs before anything is installed. What takes long,
compiling mmcv's operators, is done once for each combination of Python, torch
and mmcv; the wheel is kept outside the checkout.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Files of requirements/, and the Pythons that their torch is built for.
PYTHONS = {'onedl': ('3.10', '3.11', '3.12'), 'upstream': ('3.10', '3.11')}
# Upstream's torch is too old to export.
EXTRAS = {'onedl': ('onedl', 'test', 'export'), 'upstream': ('upstream', 'test')}
BUILD = ['wheel', 'packaging', 'ninja', 'psutil']  # what mmcv's build imports
SPACE = 7  # GB, at its height; a finished environment has 6, most of it for CUDA
CHECK = '''
import cv2, torch
from mmcv.ops import nms, roi_align
boxes = torch.tensor([[0., 0., 9., 9.], [0., 0., 9., 8.]])
assert len(nms(boxes, torch.tensor([.9, .8]), .5)[1]) == 1
regions = torch.tensor([[0., 0., 0., 4., 4.]])
assert roi_align(torch.ones(1, 1, 8, 8), regions, (2, 2)).eq(1).all()
import mmdet.models, mmseg.models, mmpretrain.models, mmfastvit
'''
WHEEL_TAG = '''
import platform, sys, torch
cuda = torch.version.cuda if torch.cuda.is_available() else None
print("-".join([f"python{sys.version_info[0]}.{sys.version_info[1]}",
                f"torch{torch.__version__}", f"cuda{cuda}" if cuda else "cpu",
                sys.platform, platform.machine()]))
'''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', nargs='?', default='.venv')
    parser.add_argument('--requirements', choices=PYTHONS, default='onedl',
                        help='onedl, the continuation of OpenMMLab (default), '
                        'or upstream OpenMMLab')
    args = parser.parse_args()
    folder = Path(args.folder)
    version = '{}.{}'.format(*sys.version_info)
    allowed = PYTHONS[args.requirements]
    if version not in allowed:
        sys.exit(f'error: this is Python {version}; for {args.requirements} '
                 f'allowed are {", ".join(allowed)}. Name one: make '
                 'PYTHON=python3.11 …, make PYTHON_UPSTREAM=python3.10 …')
    python = folder / 'bin' / 'python'
    if not (folder / 'bin' / 'pip').exists():
        say(f'Making {folder}')
        venv.create(folder, clear=True, with_pip=True)
    requirements = ROOT / 'requirements' / f'{args.requirements}.txt'
    pins = re.findall(r'^[\w-]+==\S+', requirements.read_text(), re.M)
    say('Installing torch (about 2 minutes)')
    pip(python, 'install', '-q', *BUILD, *(pin for pin in pins if 'mm' not in pin))
    wheel = mmcv_wheel(python, next(pin for pin in pins if 'mmcv==' in pin))
    say('Installing the OpenMMLab packages and mmfastvit')
    pip(python, 'install', '-q', '--no-build-isolation', wheel, '-e',
        f'{ROOT}[{",".join(EXTRAS[args.requirements])}]')
    use_headless_opencv(python)
    check(python)
    (folder / '.ready').touch()
    say(f'{folder} is ready')


def mmcv_wheel(python: Path, pin: str) -> str:
    """Return the wheel of mmcv with its operators, built now if need be."""
    tag = subprocess.run([python, '-c', WHEEL_TAG], check=True, text=True,
                         stdout=subprocess.PIPE).stdout.strip()
    home = os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')
    cache = Path(home, 'mmfastvit', f'{pin.replace("==", "-")}-{tag}')
    if not list(cache.glob('*.whl')):
        say(f'Compiling {pin}: 6 to 17 minutes on two cores, once. The wheel '
            f'is kept in {cache}')
        cache.parent.mkdir(parents=True, exist_ok=True)
        build = tempfile.mkdtemp(dir=cache.parent)
        try:
            compile_mmcv(python, pin, build)
            shutil.rmtree(cache, ignore_errors=True)
            os.rename(build, cache)
        finally:
            shutil.rmtree(build, ignore_errors=True)
    return str(next(cache.glob('*.whl')))


def compile_mmcv(python: Path, pin: str, folder: str) -> None:
    """Build the wheel into ``folder``, showing ninja's progress."""
    log = Path(folder, 'build.log')
    # Isolated, the build would not see torch and silently leave out the
    # operators; -g0 and -w halve time and output.
    environment = {'CFLAGS': '-g0 -w', 'MMCV_WITH_OPS': '1', **os.environ}
    start = time.time()
    with log.open('w') as file:
        build = subprocess.Popen(
            [python, '-m', 'pip', 'wheel', '-v', '--no-build-isolation',
             '--no-deps', '--no-cache-dir', '-w', folder, pin],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors='replace')
        for line in build.stdout:
            file.write(line)
            step = re.match(r'\s*\[(\d+)/(\d+)\]', line)
            if step and (int(step[1]) % 10 == 0 or step[1] == step[2]):
                say(f'  {step[1]} of {step[2]} files, '
                    f'{time.time() - start:.0f} s')
    if build.wait():
        kept = Path(tempfile.gettempdir(), 'mmfastvit-mmcv-build.log')
        shutil.copy(log, kept)
        sys.exit(f'error: compiling {pin} failed; the log is {kept}. A C++ '
                 'compiler (g++ or clang) and Python\'s headers are needed.')


def use_headless_opencv(python: Path) -> None:
    """Let cv2 import where there is no libGL.

    Dependencies pull in both builds of OpenCV, which share one folder; the
    one installed last wins.
    """
    version = subprocess.run(
        [python, '-c', 'from importlib.metadata import version as v;'
         'print(v("opencv-python-headless"))'], check=True, text=True,
        stdout=subprocess.PIPE).stdout.strip()
    pip(python, 'install', '-q', '--force-reinstall', '--no-deps',
        f'opencv-python-headless=={version}')


def check(python: Path) -> None:
    result = subprocess.run([python, '-c', CHECK], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        reason = result.stdout.strip().splitlines()[-1]
        sys.exit(f'error: the environment does not work: {reason}. If this '
                 'names mmcv._ext, mmcv was built without its operators: '
                 'delete its wheel from the cache and run this again.')


def pip(python: Path, *arguments: str) -> None:
    result = subprocess.run([python, '-m', 'pip', *arguments])
    if result.returncode:
        sys.exit(f'error: pip {" ".join(arguments)} failed, see above.'
                 + short_of_space(python.parents[1], tempfile.gettempdir()))


def short_of_space(environment: Path, temporary: str) -> str:
    """Return what to say if that may be why an installation failed."""
    free = {str(folder): shutil.disk_usage(folder).free / 1e9
            for folder in (environment, temporary)}
    if min(free.values()) > SPACE:
        return ''
    return (f' Up to {SPACE} GB are needed while packages are installed, and there '
            'are ' + ', '.join(f'{size:.1f} GB in {folder}'
                               for folder, size in free.items())
            + '. Make room, or name others: make VENV=/elsewhere/venv (for upstream '
            'VENV_UPSTREAM), and the variable TMPDIR.')


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == '__main__':
    main()
