# MobileCLIP's image encoder MCi0, fine-tuned on ImageNet-1k. Its authors publish
# no such recipe: this is FastViT's (fastvit_sa12_in1k.py), shorter and at a tenth of
# its learning rate.
_base_ = 'fastvit_sa12_in1k.py'

data_preprocessor = dict(mean=[0., 0., 0.], std=[255., 255., 255.])
init_cfg = dict(type='Pretrained', checkpoint='apple://mobileclip2_s0')
model = dict(
    backbone=dict(arch='mci0', init_cfg=init_cfg),
    neck=dict(init_cfg=init_cfg))

optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=2),
]
train_cfg = dict(max_epochs=30)
