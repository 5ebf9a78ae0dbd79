# RTMDet-Ins-S with FastViT-SA12. MMDetection's recipe, mosaic, 300 epochs and EMA
# included; the FastViT paper has no RTMDet, and nobody has trained this.
_base_ = 'mmdet::rtmdet/rtmdet-ins_s_8xb32-300e_coco.py'
custom_imports = dict(imports=['mmfastvit'], allow_failed_imports=False)

model = dict(
    # RTMDet's own backbone is trained on BGR pictures, FastViT on RGB.
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
    neck=dict(in_channels=[128, 256, 512]))

# MMDetection spares norms and biases; layer scales are to be spared, too.
optim_wrapper = dict(paramwise_cfg=dict(flat_decay_mult=0.))
