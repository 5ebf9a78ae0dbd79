# Mask2Former for instances with FastViT-SA12, COCO. MMDetection's recipe: 50
# epochs, 8 GPUs x 2 images, large-scale jitter; the FastViT paper has no
# Mask2Former, and nobody has trained this.
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py'
custom_imports = dict(imports=['mmfastvit'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='FastViT',
        arch='sa12',
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    panoptic_head=dict(in_channels=[64, 128, 256, 512]))

# Norms and biases are not decayed, but where a key of the recipe's custom_keys
# names them: the whole backbone learns at a tenth, and is decayed.
optim_wrapper = dict(paramwise_cfg=dict(flat_decay_mult=0.))

# MMDetection's inherits the label maps of the panoptic one, which nothing reads
# here: COCO's instances are enough.
train_dataloader = dict(
    dataset=dict(data_prefix=dict(_delete_=True, img='train2017/')))
val_dataloader = dict(
    dataset=dict(data_prefix=dict(_delete_=True, img='val2017/')))
test_dataloader = val_dataloader
