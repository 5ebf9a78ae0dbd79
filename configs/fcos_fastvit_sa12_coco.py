# FCOS with FastViT-SA12, COCO, 1x. MMDetection's recipe for its improved FCOS
# (centre sampling, centerness beside the boxes, GIoU), with AdamW as in
# retinanet_fastvit_sa12_coco.py; the FastViT paper has no FCOS, and nobody has
# trained this.
_base_ = ('mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-'
          'giou_1x_coco.py')
custom_imports = dict(imports=['mmfastvit'], allow_failed_imports=False)

model = dict(
    # FCOS' own backbone is trained on BGR pictures, FastViT on RGB.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='FastViT',
        arch='sa12',
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    neck=dict(in_channels=[128, 256, 512], start_level=0))

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=1e-4),
    # Without the doubled rate of biases, which was SGD's. Every one-dimensional
    # parameter is a norm's, a bias or a layer scale.
    paramwise_cfg=dict(_delete_=True, flat_decay_mult=0.))
