"""What tokens know of their place: two small networks of the grid they lie in.

Neither depends on the picture, nor on the size that the weights were trained at.
"""
import torch
from torch import Tensor, nn

from mmfastvit import ops
from mmfastvit.models.layers import Linear
from mmfastvit.models.reparam.intact import has_intact_parts

HIDDEN = 512  # channels of both networks
MAX_BIAS = 16.
# Grids; of a large picture's carrier tokens, a bias of variant 6 has 9 MB.
MAX_KEPT = 4


class GridTerm(nn.Module):
    """A network of grid coordinates, computed once for each grid in evaluation.

    What was computed is dropped when the module trains, is moved or loads weights, and
    not used where a gradient is to reach the weights, where a part was replaced or has
    a hook, or where a compiler or exporter looks on.

    Args:
        out_channels: Channels of what it says of a place.
    """

    def __init__(self, out_channels: int):
        super().__init__()
        self.fc1 = Linear(2, HIDDEN)
        self.fc2 = Linear(HIDDEN, out_channels, bias=False)
        self._kept: dict[tuple, Tensor] = {}

    def forward(self, rows: int, columns: int) -> Tensor:
        """Return what :meth:`compute` returns."""
        if not self._may_keep():
            return self.compute(rows, columns)
        # Versions change where an optimizer or a hook writes into weights.
        key = (rows, columns, torch.is_inference_mode_enabled(),
               *((p.data_ptr(), p.dtype, None if p.is_inference() else p._version)
                 for p in self.parameters()))
        term = self._kept.get(key)
        if term is None:
            with torch.no_grad():
                term = self.compute(rows, columns)
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[key] = term  # for other threads, too
        return term

    def compute(self, rows: int, columns: int) -> Tensor:
        """Return the term of a grid, in the dtype of the weights."""
        raise NotImplementedError

    def _of(self, down: Tensor, across: Tensor) -> Tensor:
        """Return (M, N, out_channels) for every pair of ``down`` (M,), ``across`` (N,).

        In the dtype of the weights, whatever autocast says: places are few.
        """
        weight = self.fc1.weight
        pairs = torch.stack(torch.meshgrid(down, across, indexing='ij'), -1)
        with torch.autocast(weight.device.type, enabled=False):
            return self.fc2(self.fc1(pairs.to(weight.dtype)).relu())

    def _axis(self, start: int, stop: int) -> Tensor:
        weight = self.fc1.weight
        return torch.arange(start, stop, device=weight.device).to(
            ops.widen(weight).dtype)

    def _may_keep(self) -> bool:
        if (self.training or ops.runs_plain() or not has_intact_parts(self)
                or self._forward_hooks):  # which may write into what they see
            return False
        return not (torch.is_grad_enabled()
                    and any(p.requires_grad for p in self.parameters()))

    def train(self, mode: bool = True) -> 'GridTerm':
        self._kept.clear()
        return super().train(mode)

    def _apply(self, *args, **kwargs) -> 'GridTerm':
        self._kept.clear()
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args) -> None:
        self._kept.clear()
        super()._load_from_state_dict(*args)

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_kept': {}}


class PositionEmbedding(GridTerm):
    """What is added to tokens, for their own place (the official ``pos_embed``).

    Coordinates are (i - floor(L / 2)) / floor(L / 2), rows first, with ``L`` rows or
    columns; 0 on an axis of one.

    Args:
        out_channels: Channels of the tokens.
    """

    def compute(self, rows: int, columns: int) -> Tensor:
        """Return (rows * columns, out_channels), row by row."""
        terms = self._of(*map(self._coordinates, (rows, columns)))
        return terms.reshape(rows * columns, terms.shape[2])

    def _coordinates(self, length: int) -> Tensor:
        half = length // 2
        return self._axis(0, length).sub(half) / max(half, 1)


class RelativeBias(GridTerm):
    """What attention adds to its scores, for the way from a key to its query.

    Log-spaced offsets as in Swin Transformer V2 (arXiv 2111.09883, section 3.3), but
    over the grid's own length: s * log2(1 + 8 |D| / (L - 1)) / 3 for an offset D of
    sign s; 0 on an axis of one. The bias is 16 * sigmoid of what the network says.

    Args:
        out_channels: Heads.
    """

    def compute(self, rows: int, columns: int) -> Tensor:
        """Return (heads, N, N) for N = rows * columns tokens, row by row.

        Queries come first.
        """
        table = self._of(*map(self._offsets, (rows, columns)))
        table = MAX_BIAS * table.sigmoid().permute(2, 0, 1)
        down, across = map(self._index, (rows, columns))
        # (rows, 1, rows, 1) and (1, columns, 1, columns): queries, then keys.
        bias = table[:, down[:, None, :, None], across[None, :, None, :]]
        return bias.reshape(bias.shape[0], rows * columns, rows * columns)

    def _offsets(self, length: int) -> Tensor:
        """Return f(D) for D from 1 - length to length - 1."""
        offsets = self._axis(1 - length, length)
        far = max(length - 1, 1)
        return offsets.sign() * (1 + 8 * offsets.abs() / far).log2() / 3

    def _index(self, length: int) -> Tensor:
        """Return (length, length): where offsets from key to query are in the table."""
        places = torch.arange(length, device=self.fc1.weight.device)
        return places[:, None] - places + (length - 1)
