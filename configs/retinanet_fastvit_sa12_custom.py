# RetinaNet on a data set of your own in COCO's format. Copy this file and
# change the lines marked CHANGE; it runs as it is on the generated shapes
# (python tools/generate_shapes.py), which stand in for your pictures.
_base_ = 'retinanet_fastvit_sa12_coco.py'

# CHANGE: the categories' names, as in the annotation files.
classes = ('circle', 'square', 'triangle')
# CHANGE: where the pictures and the annotation files are.
data_root = 'data/shapes/'
train_files = dict(
    ann_file='annotations/instances_train.json', data_prefix=dict(img='train/'))
val_files = dict(
    ann_file='annotations/instances_val.json', data_prefix=dict(img='val/'))
# CHANGE: the size that pictures are scaled into; COCO's is (1333, 800).
scale = (256, 256)
# CHANGE: passes over your pictures. Few pictures need many.
max_epochs = 12

model = dict(bbox_head=dict(num_classes=len(classes)))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor')),
]
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=dict(classes=classes),
        pipeline=train_pipeline,
        **train_files))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=dict(classes=classes),
        pipeline=test_pipeline,
        **val_files))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + val_files['ann_file'])
test_evaluator = val_evaluator

# One GPU with 2 pictures instead of 8 with 2: a learning rate of 1e-4 / 8, and
# less for the early stages, which know more from ImageNet than few pictures
# teach: a factor of 0.7 for each stage that lies behind.
optim_wrapper = dict(
    optimizer=dict(lr=1e-4 / 8),
    paramwise_cfg=dict(
        custom_keys={
            'backbone.stem': dict(lr_mult=0.7**4),
            'backbone.stages.0': dict(lr_mult=0.7**4),
            'backbone.stages.1': dict(lr_mult=0.7**3),
            'backbone.stages.2': dict(lr_mult=0.7**2),
            'backbone.stages.3': dict(lr_mult=0.7),
        }))
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True),
]
