"""One of two processes that normalise one batch; test_live.py starts them."""
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from torch import distributed

from helpers import randomize
from mmfastvit.models.layers import NormLinear, RepConv, RepMixer


def problem(norm):
    """Return layers, whole batches, and the weights of a loss, by name."""
    torch.manual_seed(0)
    cfg = dict(type=norm)
    layers = {name: randomize(layer).double() for name, layer in dict(
        mobileone=RepConv(8, 8, (3, 1), groups=8, skip=True, norm_cfg=cfg),
        dense=RepConv(8, 8, (1,), skip=True, norm_cfg=cfg),
        large=RepConv(8, 8, (7, 3), groups=8, norm_cfg=cfg),
        repmixer=RepMixer(8, norm_cfg=cfg),
        linear=NormLinear(8, 8, cfg)).items()}
    shapes = {name: (3, 10, 8) if name == 'linear' else (3, 8, 6, 5)
              for name in layers}
    x, weight = ({name: torch.randn(shape, dtype=torch.float64)
                  for name, shape in shapes.items()} for _ in range(2))
    return layers, x, weight


def main(rank, folder):
    distributed.init_process_group('gloo', f'file://{folder}/store', rank=rank,
                                   world_size=2)
    share = slice(0, 1) if rank == 0 else slice(1, 3)  # unequal shares
    layers, x, weight = problem('SyncBN')
    results = {}
    for name, layer in layers.items():
        own = x[name][share].clone().requires_grad_()
        with patch.object(distributed, 'all_gather',
                          wraps=distributed.all_gather) as exchange:
            out = layer(own)
        (out * weight[name][share]).sum().backward()
        results[name] = dict(
            out=out.detach(), grad=own.grad, state=layer.state_dict(),
            grads={n: p.grad for n, p in layer.named_parameters()},
            exchanges=exchange.call_count)
    torch.save(results, Path(folder, f'{rank}.pth'))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2])
