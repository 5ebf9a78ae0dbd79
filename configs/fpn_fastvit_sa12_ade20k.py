# Semantic FPN, FastViT-SA12, ADE20K. The paper (section 4.3) trains as
# PoolFormer does: 40k iterations, AdamW 2e-4, weight decay 1e-4, poly 0.9,
# 8 GPUs x 4 crops of 512x512.
_base_ = '_base_/fpn_ade20k.py'

model = dict(
    backbone=dict(
        type='FastViT',
        arch='sa12',
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    neck=dict(in_channels=[64, 128, 256, 512]))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4),
    # Every one-dimensional parameter is a norm's, a bias or a layer scale.
    paramwise_cfg=dict(flat_decay_mult=0.))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=40000, by_epoch=False),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)  # 8 GPUs x 4 crops
