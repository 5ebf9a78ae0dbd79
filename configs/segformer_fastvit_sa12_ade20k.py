# SegFormer's head, FastViT-SA12, ADE20K. Head and recipe are those of
# MMSegmentation's SegFormer-B0; the paper has no SegFormer, and nobody trained
# this one here.
_base_ = '_base_/ade20k_160k.py'

model = dict(
    backbone=dict(
        type='FastViT',
        arch='sa12',
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    decode_head=dict(
        type='SegformerHead',
        in_channels=[64, 128, 256, 512],
        in_index=[0, 1, 2, 3],
        channels=256,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss')))

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.)}))
