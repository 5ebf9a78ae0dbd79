# Mask R-CNN with a small network of FasterViT-0's kind on the generated shapes, for
# two CPU cores.
_base_ = 'maskrcnn_fastvit_sa12_shapes.py'

# At 128x128 stage 2 is a map of 8x8: windows of 4 give it 2x2 of them, and carriers.
model = dict(
    backbone=dict(
        _delete_=True,
        type='FasterViT',
        arch=dict(
            depths=(2, 3, 4, 2),
            embed_dims=(64, 128, 256, 512),
            stem_channels=64,
            num_heads=(2, 4, 8, 16),
            window_sizes=(7, 7, 4, 4))))
