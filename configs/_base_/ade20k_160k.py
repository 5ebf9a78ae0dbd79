# ADE20K, 160k iterations: the schedule with which MMSegmentation trains Swin's
# UPerNet and SegFormer. 8 GPUs x 2 crops of 512x512.
_base_ = 'ade20k.py'

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    # Every one-dimensional parameter is a norm's, a bias or a layer scale.
    paramwise_cfg=dict(flat_decay_mult=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=1500),
    dict(
        type='PolyLR',
        power=1.,
        eta_min=0.,
        begin=1500,
        end=160000,
        by_epoch=False),
]
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(enable=False, base_batch_size=16)  # 8 GPUs x 2 crops
train_cfg = dict(max_iters=160000, val_interval=16000)
default_hooks = dict(checkpoint=dict(interval=16000))
