# FasterViT-0, ImageNet-1k, after the recipe of its authors: 310 epochs of batches of
# 4096, AdamW 5e-3, cosine after 20 epochs of warm-up, gradients clipped at norm 5.
# Their distillation from the averaged model (MESA) is not here; of their two values
# of weight decay, 0.05 and 0.005, the first.
_base_ = 'fastvit_sa12_in1k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterViT',
        arch='0',
        out_indices=(3, )),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=512),
    train_cfg=dict(augments=[
        dict(type='Mixup', alpha=0.8),
        dict(type='CutMix', alpha=1.0),
    ]))

bicubic = dict(backend='pillow', interpolation='bicubic')
train_pipeline = _base_.train_pipeline
train_pipeline[1]['scale'] = 224
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # A crop ratio of 0.875: 224 / 0.875 = 256.
    dict(type='ResizeEdge', scale=256, edge='short', **bicubic),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    optimizer=dict(lr=5e-3), clip_grad=dict(max_norm=5.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=5e-6, begin=20),
]
custom_hooks = [dict(type='EMAHook', momentum=2e-4, update_buffers=True)]
train_cfg = dict(max_epochs=310)
auto_scale_lr = dict(base_batch_size=4096)
