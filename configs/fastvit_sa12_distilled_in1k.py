# FastViT-SA12 with hard distillation (arXiv 2012.12877): half of the loss is
# the cross entropy to the class that RegNetY-16GF predicts for the same crop.
# As in the reference code, mixup and drop path keep their defaults, 0.8 and 0.
_base_ = 'fastvit_sa12_in1k.py'
custom_imports = dict(imports=['mmfastvit', 'mmfastvit.models.classifiers.distilled'])

model = dict(
    type='DistilledImageClassifier',
    teacher=dict(
        type='TimmClassifier', model_name='regnety_160', pretrained=True),
    backbone=dict(drop_path_rate=0.),
    train_cfg=dict(augments=[
        dict(type='Mixup', alpha=0.8),
        dict(type='CutMix', alpha=1.0),
    ]))
