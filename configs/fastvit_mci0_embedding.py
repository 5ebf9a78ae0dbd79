# MobileCLIP's image encoder MCi0, whole: a picture in, its embedding of 512 dimensions
# out, not normalised. Nothing is trained here; tools/export.py writes it as one file:
#   tools/convert_checkpoint.py apple://mobileclip2_s0 mci0.pth --classifier
#   tools/export.py configs/fastvit_mci0_embedding.py mci0.pth --out mci0.onnx
# Another variant takes other arch, out_indices, in_channels and embedding_dims.
_base_ = 'fastvit_mci0_in1k.py'

model = dict(neck=dict(embedding_dims=512), head=None, train_cfg=None)

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=256),
    dict(type='PackInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
