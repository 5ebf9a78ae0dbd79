# Mask2Former, FastViT-SA12, ADE20K. Head and recipe are those of MMSegmentation's on
# ResNet-50, but for its choice of sizes in training; the paper has no Mask2Former,
# and nobody trained this one here.
_base_ = '_base_/ade20k_160k.py'
# Its head is made of MMDetection's parts.
custom_imports = dict(
    imports=['mmfastvit', 'mmdet.models'], allow_failed_imports=False)

num_classes = 150
attention = dict(embed_dims=256, num_heads=8, batch_first=True)
model = dict(
    data_preprocessor=dict(test_cfg=dict(size_divisor=32)),
    backbone=dict(
        type='FastViT',
        arch='sa12',
        init_cfg=dict(type='Pretrained', checkpoint='apple://in1k')),
    decode_head=dict(
        type='Mask2FormerHead',
        in_channels=[64, 128, 256, 512],
        strides=[4, 8, 16, 32],
        feat_channels=256,
        out_channels=256,
        num_classes=num_classes,
        num_queries=100,
        num_transformer_feat_level=3,
        align_corners=False,
        pixel_decoder=dict(
            type='mmdet.MSDeformAttnPixelDecoder',
            num_outs=3,
            norm_cfg=dict(type='GN', num_groups=32),
            act_cfg=dict(type='ReLU'),
            encoder=dict(
                num_layers=6,
                layer_cfg=dict(
                    self_attn_cfg=dict(
                        **attention, num_levels=3, num_points=4, dropout=0.),
                    ffn_cfg=dict(embed_dims=256, feedforward_channels=1024))),
            positional_encoding=dict(num_feats=128, normalize=True)),
        enforce_decoder_input_project=False,
        positional_encoding=dict(num_feats=128, normalize=True),
        transformer_decoder=dict(
            return_intermediate=True,
            num_layers=9,
            layer_cfg=dict(
                self_attn_cfg=attention,
                cross_attn_cfg=attention,
                ffn_cfg=dict(embed_dims=256, feedforward_channels=2048))),
        loss_cls=dict(
            type='mmdet.CrossEntropyLoss',
            loss_weight=2.,
            class_weight=[1.] * num_classes + [0.1]),
        loss_mask=dict(
            type='mmdet.CrossEntropyLoss', use_sigmoid=True, loss_weight=5.),
        loss_dice=dict(
            type='mmdet.DiceLoss', naive_dice=True, eps=1., loss_weight=5.),
        train_cfg=dict(
            num_points=12544,
            oversample_ratio=3.,
            importance_sample_ratio=0.75,
            assigner=dict(
                type='mmdet.HungarianAssigner',
                match_costs=[
                    dict(type='mmdet.ClassificationCost', weight=2.),
                    dict(
                        type='mmdet.CrossEntropyLossCost',
                        weight=5.,
                        use_sigmoid=True),
                    dict(
                        type='mmdet.DiceCost',
                        weight=5.,
                        pred_act=True,
                        eps=1.),
                ]),
            sampler=dict(type='mmdet.MaskPseudoSampler'))))

# Norms and biases are not decayed, but where a key names them: the whole backbone
# learns at a tenth, and is decayed, as in the recipe.
spared = dict(decay_mult=0.)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=0.01),
    paramwise_cfg=dict(
        custom_keys=dict(
            backbone=dict(lr_mult=0.1),
            query_embed=spared,
            query_feat=spared,
            level_embed=spared)))
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0., end=160000, by_epoch=False),
]
