# A small network of FasterViT-0's kind on single generated shapes, for two CPU cores.
_base_ = 'fastvit_sa12_shapes.py'

# At 64x64 stage 2 is a map of 4x4: windows of 2 give it 2x2 of them, and carriers.
model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterViT',
        arch=dict(
            depths=(1, 1, 2, 1),
            embed_dims=(32, 64, 128, 256),
            stem_channels=32,
            num_heads=(2, 2, 4, 8),
            window_sizes=(7, 7, 2, 2)),
        out_indices=(3, )),
    neck=dict(_delete_=True, type='GlobalAveragePooling'),
    head=dict(in_channels=256))
