_base_ = 'retinanet_fastvit_sa12_coco.py'

model = dict(
    data_preprocessor=dict(mean=[0., 0., 0.], std=[255., 255., 255.]),
    backbone=dict(
        arch='mci1',
        init_cfg=dict(checkpoint='apple://mobileclip_s1')))
