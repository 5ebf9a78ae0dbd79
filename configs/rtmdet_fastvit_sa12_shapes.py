# The same detector with a light neck and head on the generated shapes, from
# scratch, for two CPU cores.
_base_ = 'rtmdet_fastvit_sa12_coco.py'

norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(init_cfg=None),
    neck=dict(out_channels=64, norm_cfg=norm_cfg),
    # Boxes start at the size of a stride, as in RTMDet-L, not at none.
    bbox_head=dict(
        num_classes=3,
        in_channels=64,
        feat_channels=64,
        exp_on_reg=True,
        norm_cfg=norm_cfg),
    # Hardly two shapes of a class share half of their boxes' union.
    test_cfg=dict(nms_pre=200, nms=dict(iou_threshold=0.5), max_per_img=50))

dataset = dict(
    data_root='data/shapes/',
    metainfo=dict(classes=('circle', 'square', 'triangle')))
sized = [
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='Pad', size=(128, 128), pad_val=dict(img=(114, 114, 114))),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        **dataset,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            *sized,
            dict(
                type='RandomFlip',
                prob=[0.25, 0.25, 0.25],  # shapes look the same either way up
                direction=['horizontal', 'vertical', 'diagonal']),
            dict(type='PackDetInputs'),
        ]))
val_dataloader = dict(
    num_workers=2,
    dataset=dict(
        **dataset,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            *sized,
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                           'scale_factor')),
        ]))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/shapes/annotations/instances_val.json')
test_evaluator = val_evaluator

# 800 pictures in batches of 4: 200 iterations an epoch. Too few for a moving
# average of weights, and no mosaic to switch off.
custom_hooks = []
default_hooks = dict(checkpoint=dict(interval=1))
train_cfg = dict(max_epochs=4, val_interval=4, dynamic_intervals=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', T_max=4, convert_to_iter_based=True),
]
optim_wrapper = dict(
    optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.))
