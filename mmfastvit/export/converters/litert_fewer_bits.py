"""A file of LiteRT in fewer bits: ``litert_fewer_bits.py IN OUT DTYPE [PICTURES]``.

PICTURES is a folder of arrays, (1, 3, H, W) float32, that tell the range of
activations.
"""
import os
import site
import sys
from pathlib import Path


def main() -> None:
    # Behind its own packages, those of the environment that calls it.
    site.addsitedir(os.environ['MMFASTVIT_BESIDE'])
    import numpy as np
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer
    source, path, dtype, *folders = sys.argv[1:]
    everything = '.*', qtyping.TFLOperationName.ALL_SUPPORTED
    own, ranges = quantizer.Quantizer(source), None
    if dtype == 'float16':
        own.add_weight_only_config(
            *everything, 16,
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING)
    else:
        own.add_static_config(*everything, activation_num_bits=8, weight_num_bits=8)
        for end in ('INPUT', 'OUTPUT'):  # of the file, in float32 as ever
            own.update_quantization_recipe(
                '.*', qtyping.TFLOperationName[end],
                algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
        ranges = own.calibrate({'serving_default': [
            {'args_0': np.load(path)} for path in sorted(Path(folders[0]).iterdir())]})
    Path(path).write_bytes(own.quantize(ranges).quantized_model)


if __name__ == '__main__':
    main()
