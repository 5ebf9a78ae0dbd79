# Semantic FPN, FasterViT-0, ADE20K. The paper has no Semantic FPN; this is that of
# our FastViT-SA12.
_base_ = 'fpn_fastvit_sa12_ade20k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterViT',
        arch='0',
        init_cfg=dict(
            type='Pretrained', checkpoint='nvidia://fastervit_0_224_1k')),
    neck=dict(in_channels=[64, 128, 256, 512]))
