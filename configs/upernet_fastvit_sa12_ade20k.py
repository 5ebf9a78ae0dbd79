# UPerNet, FastViT-SA12, ADE20K. Heads and recipe are those of MMSegmentation's
# UPerNet on Swin; the paper has no UPerNet, and nobody trained this one here.
_base_ = '_base_/ade20k_160k.py'

model = dict(
    backbone=dict(
        type='FastViT',
        arch='sa12',
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    decode_head=dict(
        type='UPerHead',
        in_channels=[64, 128, 256, 512],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss')),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=256,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)))
