# The same detector on FastViT-T8, which on these pictures learns as much of an
# iteration in little more than half the time; `make demo-det` trains it.
_base_ = 'rtmdet_fastvit_sa12_shapes.py'

model = dict(
    backbone=dict(arch='t8'),
    neck=dict(in_channels=[96, 192, 384]))

# The rate falls late, as in the whole recipe.
train_cfg = dict(max_epochs=4, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=100),
    dict(
        type='CosineAnnealingLR',
        begin=2,
        end=4,
        T_max=2,
        convert_to_iter_based=True),
]
