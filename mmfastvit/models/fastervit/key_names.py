"""Key names of NVIDIA's and our checkpoints of FasterViT."""
import re

from mmfastvit.checkpoints.key_names import KeyNames

NAMES = KeyNames(
    'FasterViT',
    # The first tensor of the stem, as trained or in deploy form.
    re.compile(r'^(?P<prefix>.*?)(?:(?P<nvidia>patch_embed\.conv_down\.0)|'
               r'(?P<mmfastvit>stem\.0\.(?:convs\.0\.conv|fused)))\.weight$'),
    {'nvidia': "NVIDIA's", 'mmfastvit': 'our own'},
    [(re.compile(pattern), name) for pattern, name in (
        # Where a layer is: here, downsampling belongs to the stage after it.
        (r'^patch_embed\.conv_down\.0\.', 'stem.0.convs.0.conv.'),
        (r'^patch_embed\.conv_down\.1\.', 'stem.0.convs.0.norm.'),
        (r'^patch_embed\.conv_down\.3\.', 'stem.1.convs.0.conv.'),
        (r'^patch_embed\.conv_down\.4\.', 'stem.1.convs.0.norm.'),
        (r'^levels\.(\d+)\.downsample\.',
         lambda found: f'stages.{int(found[1]) + 1}.downsample.'),
        (r'^levels\.', 'stages.'),
        (r'\.downsample\.norm\.', '.downsample.0.'),
        (r'\.downsample\.reduction\.0\.', '.downsample.1.'),
        (r'\.global_tokenizer\.to_global_feature\.pos\.', '.carriers.conv.'),
        (r'^norm\.', 'out_norms.3.'),
        (r'^head\.', 'head.fc.'),
        # What a block holds: layer scales join the layers that they fold into.
        (r'(\.blocks\.\d+)\.gamma1$', r'\1.carrier.attn.proj.layer_scale'),
        (r'(\.blocks\.\d+)\.gamma2$', r'\1.carrier.mlp.fc2.layer_scale'),
        (r'(\.blocks\.\d+)\.gamma3$', r'\1.window.attn.proj.layer_scale'),
        (r'(\.blocks\.\d+)\.gamma4$', r'\1.window.mlp.fc2.layer_scale'),
        (r'(stages\.[01]\.blocks\.\d+)\.(?:conv(\d))\.', r'\1.conv\2.convs.0.conv.'),
        (r'(stages\.[01]\.blocks\.\d+)\.(?:norm(\d))\.', r'\1.conv\2.convs.0.norm.'),
        (r'(\.blocks\.\d+)\.hat_pos_embed\.', r'\1.carrier_embed.'),
        (r'(\.blocks\.\d+)\.pos_embed\.', r'\1.window_embed.'),
        (r'(\.blocks\.\d+)\.hat_', r'\1.carrier.'),
        (r'(\.blocks\.\d+)\.(norm\d|attn|mlp)\.', r'\1.window.\2.'),
        (r'\.pos_emb_funct\.', '.bias.'),
        (r'\.cpb_mlp\.0\.', '.fc1.'),
        (r'\.cpb_mlp\.2\.', '.fc2.'),
        (r'\.(attn\.proj|mlp\.fc2)\.(weight|bias)$', r'.\1.op.\2'))],
    classifier=('head.fc.',),
    # What a file caches for its own size, and the second name of a convolution.
    dropped=re.compile(r'\.(?:relative_bias|relative_coords_table|'
                       r'relative_position_index)$|\.global_tokenizer\.pos_embed\.'))
