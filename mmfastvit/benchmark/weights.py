"""Random weights at which every branch, norm and layer scale counts."""
import torch
from torch import nn


def randomize(model: nn.Module) -> nn.Module:
    """Give norms, biases and layer scales values at which no fold is trivial."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            what = name.rsplit('.', 1)[-1]
            if what == 'running_var':
                tensor.uniform_(0.5, 1.5)
            elif what == 'running_mean':
                tensor.normal_(0, 0.2)
            elif 'layer_scale' in name:
                tensor.uniform_(0.1, 0.5)
            elif tensor.ndim == 1:  # norms and biases
                tensor.uniform_(0.5, 1.5) if what == 'weight' \
                    else tensor.normal_(0, 0.2)
    return model
