"""A program of PyTorch as LiteRT's: ``litert_program.py IN.pt2 OUT.tflite``."""
import os
import site
import sys


def main() -> None:
    # Behind its own packages, those of the environment that calls it.
    site.addsitedir(os.environ['MMFASTVIT_BESIDE'])
    import litert_torch
    import torch
    # It does not know all of PyTorch's operators, but those that they are made of.
    program = torch.export.load(sys.argv[1]).run_decompositions({})
    module = program.module()
    _pick_nearest(module)
    litert_torch.convert(module, program.example_inputs[0]).export(sys.argv[2])


def _pick_nearest(module) -> None:
    """Let maps be enlarged by picking rows and columns, as PyTorch picks them.

    LiteRT's own operator picks others, where a side is no multiple of what it was
    (litert in tests/export/test_mobile.py).
    """
    import torch
    ops = torch.ops.aten
    for node in list(module.graph.nodes):
        if node.target is not ops.upsample_nearest2d.vec:
            continue
        picked = node.args[0]
        before, after = picked.meta['val'].shape, node.meta['val'].shape
        for axis in (2, 3):
            places = torch.nn.functional.interpolate(
                torch.arange(float(before[axis]))[None, None], after[axis])
            name = f'{node.name}_{axis}'
            module.register_buffer(name, places.flatten().long())
            with module.graph.inserting_before(node):
                index = module.graph.get_attr(name)
                picked = module.graph.call_function(
                    ops.index_select.default, (picked, axis, index))
        node.replace_all_uses_with(picked)
        module.graph.erase_node(node)
    module.recompile()


if __name__ == '__main__':
    main()
