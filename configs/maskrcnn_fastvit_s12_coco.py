_base_ = 'maskrcnn_fastvit_sa12_coco.py'

model = dict(backbone=dict(arch='s12'))
