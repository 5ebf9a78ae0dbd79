# Mask R-CNN, FasterViT-0, COCO, 1x. The paper (section 4) reports Cascade Mask
# R-CNN without a recipe in its code; this is that of our FastViT-SA12.
_base_ = 'maskrcnn_fastvit_sa12_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterViT',
        arch='0',
        init_cfg=dict(
            type='Pretrained', checkpoint='nvidia://fastervit_0_224_1k')),
    neck=dict(in_channels=[64, 128, 256, 512]))
