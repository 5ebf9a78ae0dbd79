"""Packaging of mmfastvit."""
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
version = {}
exec((root / 'mmfastvit' / 'version.py').read_text(), version)

setup(
    name='mmfastvit',
    version=version['__version__'],
    description='FastViT for MMDetection, MMSegmentation and MMPretrain',
    long_description=(root / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmfastvit', 'mmfastvit.*']),
    python_requires='>=3.10',
    # Only what both OpenMMLab and its maintained continuation share: the two
    # install the same modules, so that requiring one would break the other.
    install_requires=[
        'numpy',  # the generated data set; arrays in checkpoints
        'safetensors',  # timm's weights, read without pickle
        'torch>=2.1',
    ],
    extras_require={
        # The maintained continuation of OpenMMLab, on PyPI; torch exactly,
        # since a range can resolve to one without a torchvision build.
        'onedl': [
            'torch==2.11.0',
            'torchvision==0.26.0',  # imported by mmpretrain
            'onedl-mmengine==0.10.12',  # runner, registry, config
            'onedl-mmcv==2.3.6',  # RoIAlign, NMS, data pipelines
            'onedl-mmdetection==3.5.1',  # Mask R-CNN, RetinaNet
            'onedl-mmsegmentation==1.4.2',  # Semantic FPN
            'onedl-mmpretrain==1.3.6',  # classification
        ],
        # Upstream OpenMMLab, for those who have it already.
        'openmmlab': [
            'mmengine>=0.10.7',
            'mmcv>=2.1',
            'mmdet>=3.3',
            'mmsegmentation>=1.2.2',
            'mmpretrain>=1.2',
        ],
        'test': [
            'onnx==1.23.2',  # reads the exported graph, to count operators
            'onnxscript==0.7.2',  # torch's exporter writes through it
            'pytest>=8',
            'timm==1.0.31',  # an independent FastViT, the peer in parity tests
        ],
        'dev': [
            'pre-commit',
            'ruff==0.17.5',  # lint and import order, also in CI
        ],
    },
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3',
    ],
)
