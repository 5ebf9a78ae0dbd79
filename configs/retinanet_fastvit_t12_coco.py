_base_ = 'retinanet_fastvit_sa12_coco.py'

model = dict(backbone=dict(arch='t12'))
