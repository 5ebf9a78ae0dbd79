# FastVLM's image encoder. Its weights are published re-parameterized alone, so
# it is fine-tuned as the plain convolutions that it is then.
_base_ = 'maskrcnn_fastvit_sa12_coco.py'

model = dict(
    data_preprocessor=dict(mean=[0., 0., 0.], std=[255., 255., 255.]),
    backbone=dict(
        arch='fastvithd',
        deploy=True,
        init_cfg=dict(checkpoint='apple://fastvlm_0.5b')),
    neck=dict(in_channels=[96, 192, 384, 768]))
