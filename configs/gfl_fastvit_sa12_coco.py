# GFL with FastViT-SA12, COCO, 1x. MMDetection's recipe, with AdamW as in
# retinanet_fastvit_sa12_coco.py; the FastViT paper has no GFL, and nobody has
# trained this.
_base_ = 'mmdet::gfl/gfl_r50_fpn_1x_coco.py'
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
