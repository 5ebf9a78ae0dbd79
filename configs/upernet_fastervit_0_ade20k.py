# UPerNet, FasterViT-0, ADE20K: the heads and the recipe of our FastViT-SA12, which
# are not those of the paper's UPerNet. Nobody trained this one here.
_base_ = 'upernet_fastvit_sa12_ade20k.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterViT',
        arch='0',
        init_cfg=dict(
            type='Pretrained', checkpoint='nvidia://fastervit_0_224_1k')))
