# The same detector with light heads on the generated shapes, from scratch, for
# two CPU cores; `make demo` trains it.
_base_ = 'maskrcnn_fastvit_sa12_coco.py'

# RoIAlign is single-threaded on a CPU: few regions, one sample a bin.
# From scratch, heads need norms as the backbone does (arXiv 1811.08883).
norm_cfg = dict(type='BN')
roi_layer = dict(sampling_ratio=1)
model = dict(
    backbone=dict(init_cfg=None),
    neck=dict(out_channels=64, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[4], strides=[4, 8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=roi_layer, out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=3),
        mask_roi_extractor=dict(roi_layer=roi_layer, out_channels=64),
        mask_head=dict(
            num_convs=2,
            in_channels=64,
            conv_out_channels=64,
            num_classes=3,
            norm_cfg=norm_cfg)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50)))

dataset = dict(
    data_root='data/shapes/',
    metainfo=dict(classes=('circle', 'square', 'triangle')))
resize = dict(type='Resize', scale=(128, 128), keep_ratio=True)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        **dataset,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            resize,
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ]))
val_dataloader = dict(
    dataset=dict(
        **dataset,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            resize,
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                           'scale_factor')),
        ]))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/shapes/annotations/instances_val.json')
test_evaluator = val_evaluator

# 800 pictures in batches of 4: 200 iterations an epoch.
train_cfg = dict(max_epochs=4, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=100),
    dict(type='CosineAnnealingLR', T_max=4, convert_to_iter_based=True),
]
optim_wrapper = dict(
    optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.))
