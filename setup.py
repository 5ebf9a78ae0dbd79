"""Packaging of mmfastvit; requirements/ says why each dependency is there."""
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
version: dict = {}
exec((ROOT / 'mmfastvit' / 'version.py').read_text(), version)


def requirements(name: str) -> list[str]:
    """Return the requirements of one file, without its comments."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line.split('#')[0].strip() for line in lines
            if line.split('#')[0].strip()]


setup(
    name='mmfastvit',
    version=version['__version__'],
    description='FastViT for MMDetection, MMSegmentation and MMPretrain',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=[*find_packages(include=['mmfastvit', 'mmfastvit.*']),
              'mmfastvit_runtime', 'mmfastvit_runtime.engines'],
    package_dir={'mmfastvit_runtime': 'runtime/mmfastvit_runtime'},
    entry_points={'console_scripts': [
        'mmfastvit-predict = mmfastvit_runtime.command:main']},
    # MIM and MMEngine look for configs and tools inside of packages. In a
    # checkout, .mim holds links to them.
    package_data={'mmfastvit': [
        '.mim/*.yml', '.mim/configs/**/*.py', '.mim/configs/**/*.yml',
        '.mim/tools/*.py']},
    exclude_package_data={'mmfastvit': ['.mim/tools/make_environment.py']},
    python_requires='>=3.10',
    # Only what OpenMMLab and its continuation share: both install the same
    # modules, so that requiring either would break the other's users.
    install_requires=[
        'numpy',  # arrays of the generated data set
        'scipy',  # the metric of hands lays point sets over each other with it
        'safetensors',  # timm's weights, read without pickle
        'torch>=2.1',  # what mmcv's last upstream releases were made for
        'tqdm',  # the progress bar of mmfastvit-predict
    ],
    extras_require={name: requirements(name)
                    for name in ('onedl', 'upstream', 'test', 'export')},
)
