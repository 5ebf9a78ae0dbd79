# Deformable DETR with FastViT-SA12, COCO. MMDetection's recipe: 50 epochs, 16 GPUs
# x 2 images; the FastViT paper has no DETR, and nobody has trained this.
_base_ = 'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py'
custom_imports = dict(imports=['mmfastvit'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='FastViT',
        arch='sa12',
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    neck=dict(in_channels=[128, 256, 512]))

# Norms and biases are not decayed, but where a key of the recipe's custom_keys
# names them: the whole backbone learns at a tenth, and is decayed.
optim_wrapper = dict(paramwise_cfg=dict(flat_decay_mult=0.))
