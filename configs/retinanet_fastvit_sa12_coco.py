# RetinaNet, FastViT-SA12, COCO, 1x. The paper (section 4.3) has no RetinaNet;
# this is PoolFormer's: 12 epochs, AdamW 1e-4, weight decay 1e-4, 8 GPUs x 2
# images, FPN from the second stage, its extra levels convolved from the input.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmfastvit'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='FastViT',
        arch='sa12',
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    neck=dict(in_channels=[128, 256, 512], start_level=0))

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4),
    # Every one-dimensional parameter is a norm's, a bias or a layer scale.
    paramwise_cfg=dict(flat_decay_mult=0.))
