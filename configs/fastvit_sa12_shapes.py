# The same classifier on single generated shapes, for two CPU cores; `make
# demo-cls` trains it.
_base_ = 'fastvit_sa12_in1k.py'

# Short training from scratch: less to fight against, faster averages.
model = dict(
    backbone=dict(drop_path_rate=0.),
    head=dict(num_classes=3),
    train_cfg=dict(_delete_=True))
data_preprocessor = dict(num_classes=3)

dataset = dict(
    _delete_=True,
    type='CustomDataset',
    data_root='data/shapes/crops',
    metainfo=dict(classes=('circle', 'square', 'triangle')))
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(
        **dataset,
        data_prefix='train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64)),
            dict(
                type='RandomFlip',
                prob=[0.25, 0.25, 0.25],
                direction=['horizontal', 'vertical', 'diagonal']),
            dict(type='PackInputs'),
        ]))
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        **dataset,
        data_prefix='val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(64, 64)),
            dict(type='PackInputs'),
        ]))
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=20))
val_evaluator = dict(topk=(1, ))
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=12, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', T_max=12, convert_to_iter_based=True),
]
custom_hooks = [dict(type='EMAHook', momentum=0.01, update_buffers=True)]
