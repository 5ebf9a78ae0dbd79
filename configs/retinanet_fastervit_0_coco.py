# RetinaNet, FasterViT-0, COCO, 1x. The paper has no RetinaNet; this is that of our
# FastViT-SA12.
_base_ = 'retinanet_fastvit_sa12_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterViT',
        arch='0',
        out_indices=(1, 2, 3),
        init_cfg=dict(
            type='Pretrained', checkpoint='nvidia://fastervit_0_224_1k')),
    neck=dict(in_channels=[128, 256, 512]))
