# Mask R-CNN, FastViT-SA12, COCO, 1x. The paper (section 4.3) trains as
# PoolFormer does: 12 epochs, AdamW 2e-4, weight decay 1e-4, 8 GPUs x 2 images,
# 1333x800, ImageNet weights. Ours: no decay on norms, biases and layer scales,
# and the feature maps taken after the last block of each stage.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
custom_imports = dict(imports=['mmfastvit'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='FastViT',
        arch='sa12',
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    neck=dict(in_channels=[64, 128, 256, 512]))

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4),
    # Every one-dimensional parameter is a norm's, a bias or a layer scale.
    paramwise_cfg=dict(flat_decay_mult=0.))
