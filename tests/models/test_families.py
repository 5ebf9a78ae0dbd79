"""The families that tools know."""
import pytest

from mmfastvit import ArgumentError, CheckpointError, FasterViT, FastViT
from mmfastvit.benchmark.build import build
from mmfastvit.benchmark.contestants import Case, line_up
from mmfastvit.models.families import (
    all_variants,
    default_arch,
    find_family,
    find_published,
    find_variant,
    locate_file,
)


def test_every_variant_has_one_name():
    names = all_variants()
    assert len(set(names)) == 24
    assert [find_variant(name) for name in names] == [
        *((FastViT, arch) for arch in FastViT.weights_class.variants),
        *((FasterViT, arch) for arch in FasterViT.weights_class.variants)]
    assert find_variant('FastViT_SA12') == (FastViT, 'sa12')
    for name in ('0', 'fastervit_sa12', 'resnet50'):
        with pytest.raises(ArgumentError, match='is no variant and no config'):
            find_variant(name)


def test_names_in_configs():
    assert find_family('FasterViT') is FasterViT and find_family('ResNet') is None
    assert (default_arch(FastViT), default_arch(FasterViT)) == ('sa12', '0')


def test_published_weights_of_all():
    assert find_published('nvidia://fastervit_0_224_1k#key').variants == ('0', )
    assert find_published('apple://in1k').variants[0] == 't8'
    assert find_published('file.pth') is None
    assert locate_file('file.pth') == 'file.pth'
    assert locate_file('nvidia://fastervit_1_224_1k').endswith('1_224_1k.pth.tar')
    with pytest.raises(CheckpointError, match='NVIDIA does not publish nvidia://x'):
        locate_file('nvidia://x')


def test_timm_has_no_fastervit():
    case = Case('fastervit_0', (64, 64), vs_timm=True)
    with pytest.raises(ArgumentError, match='timm has no FasterViT'):
        build(case, line_up(case)[0])
