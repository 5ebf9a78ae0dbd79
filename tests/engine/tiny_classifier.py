# A classifier that trains in seconds, for tests of training itself. Norms are on
# running statistics: what does not depend on how a batch is shared out between
# processes or steps has to come out equal.
_base_ = '../../configs/fastvit_sa12_shapes.py'
custom_imports = dict(
    imports=['mmfastvit', 'training_hooks'], allow_failed_imports=False)

model = dict(
    # Layer scales at which every block has its share in what is compared.
    backbone=dict(arch='t8', norm_eval=True, layer_scale_init_value=1.),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=384))

dataset = dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 32)),
    dict(type='PackInputs'),
])
in_process = dict(num_workers=0, persistent_workers=False)
# Three batches an epoch, none of them short.
train_dataloader = dict(batch_size=4, dataset=dict(**dataset, indices=12), **in_process)
val_dataloader = dict(dataset=dataset, **in_process)
test_dataloader = val_dataloader

# AdamW would turn the rounding of a gradient near zero into a whole step.
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.1))
param_scheduler = []
train_cfg = dict(max_epochs=2, val_interval=1)
custom_hooks = [dict(type='Record'), dict(type='Kill')]
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0)
