# 3D hand mesh, FastViT-SA12, FreiHAND. The paper (section 4.2) trains MA36 with a
# regression of MANO's numbers and tells no recipe. This is ours, after the published
# training of the token head on the same backbones (Zhou et al., CVPR 2024): 100 epochs
# of AdamW 5e-4, weight decay 1e-2, batches of 32, pictures turned and mirrored. Nobody
# has trained it on FreiHAND yet.
default_scope = 'mmengine'
custom_imports = dict(
    imports=['mmfastvit.hands'], allow_failed_imports=False)

model = dict(
    type='HandMeshEstimator',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(
        type='FastViT',
        arch='sa12',
        out_indices=(1, 3),
        out_norm_cfg=None,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    neck=dict(
        type='FastViTNeck',
        in_channels=512,
        pool=False,
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    head=dict(
        type='MeshTokenHead', in_channels=1024, lateral_channels=128))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='HandCrop',
        size=224,
        scale=(0.7, 1.1),
        shift=0.1,
        rotation=90),
    # Half of the hands become left ones.
    dict(type='HandFlip', prob=0.5),
    dict(
        type='mmpretrain.ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.4),
    dict(type='PackHandInputs'),
]
# The whole picture, as an exported file takes it. Others crop around the true joints
# (HandCrop, around='joints', scale=(1.25, 1.25)), which tells the network where the
# hand is.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(224, 224), keep_ratio=True),
    dict(type='PackHandInputs'),
]
dataset = dict(type='FreiHANDDataset', data_root='data/freihand')
train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**dataset, split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset, split='val', versions=('gs', ), pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='test', pipeline=test_pipeline))
val_evaluator = dict(type='FreiHANDMetric')
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=1e-2),
    # Every one-dimensional parameter is a norm's, a bias or a layer scale.
    paramwise_cfg=dict(flat_decay_mult=0.),
    clip_grad=dict(max_norm=1.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=2000),
    dict(type='CosineAnnealingLR', T_max=100, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=5)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [dict(type='HandStatisticsHook')]
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
visualizer = dict(
    type='HandVisualizer',
    vis_backends=[dict(type='LocalVisBackend')],
    name='visualizer')
log_processor = dict(by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
