# DeepLabV3+, FastViT-SA12, ADE20K. Heads are those of MMSegmentation's
# DeepLabV3+ on ResNet, which it trains by SGD; the recipe is that of our UPerNet,
# since FastViT is trained by AdamW. The paper has no DeepLabV3+, and nobody trained
# this one here.
_base_ = '_base_/ade20k_160k.py'

model = dict(
    backbone=dict(
        type='FastViT',
        arch='sa12',
        out_indices=(0, 2, 3),  # a norm of the second would never be trained
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=512,
        in_index=2,
        channels=512,
        # (1, 12, 24, 36) is for maps of stride 8; these have 32.
        dilations=(1, 3, 6, 9),
        c1_in_channels=64,
        c1_channels=48,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss')),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=256,
        in_index=1,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)))
