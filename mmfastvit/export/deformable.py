"""Deformable attention (arXiv 2010.04159, equation 3) in operations that export.

mmcv's keeps the sizes of maps in a tensor, which no exporter can follow; here they are
pairs of numbers. Maps have no margin: all pictures of a batch are of one size.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfastvit.utils.errors import ArgumentError

Sizes = Sequence[tuple[int, int]]  # height and width of each map


class DeformableAttention(nn.Module):
    """What mmcv's ``MultiScaleDeformableAttention`` computes.

    Args:
        attention: That one, with ``batch_first``.
    """

    def __init__(self, attention: nn.Module):
        super().__init__()
        if not attention.batch_first:
            raise ArgumentError('MultiScaleDeformableAttention without batch_first '
                                'cannot be exported: set it, as MMDetection does.')
        self.attention = attention

    def forward(self, query: Tensor, key: Tensor | None = None,
                value: Tensor | None = None, identity: Tensor | None = None,
                query_pos: Tensor | None = None, *, reference_points: Tensor,
                spatial_shapes: Sizes, **others) -> Tensor:
        """Gather, for each query, samples of maps, and add the query.

        Args:
            query: (B, Q, C).
            key: Not used.
            value: (B, N, C), all maps' places, or None for ``query``.
            identity: (B, Q, C), what is added; None takes ``query``.
            query_pos: (B, Q, C), added to the queries before.
            reference_points: (B, Q, levels, 2 or 4), 0 to 1: points, or centres and
                sides of boxes.
            spatial_shapes: Of each map.
        """
        own = self.attention
        value = own.value_proj(query if value is None else value)
        identity = query if identity is None else identity
        query = query if query_pos is None else query + query_pos
        batch, count, _ = query.shape
        levels, points, heads = own.num_levels, own.num_points, own.num_heads
        channels = value.shape[2] // heads
        offsets = own.sampling_offsets(query).reshape(
            batch, count, heads, levels, points, 2)
        # No -1 in what follows: exporters would work it out for one size.
        weights = own.attention_weights(query).reshape(
            batch, count, heads, levels * points)
        weights = weights.softmax(3).permute(0, 2, 1, 3)  # (B, heads, Q, samples)
        centres = reference_points[:, :, None, :, None, :2]
        if reference_points.shape[3] == 4:
            offsets = offsets / points * reference_points[:, :, None, :, None, 2:] / 2
        maps = value.split([height * width for height, width in spatial_shapes], 1)
        samples = []
        for i, (height, width) in enumerate(spatial_shapes):
            x = maps[i].transpose(1, 2).reshape(
                batch * heads, channels, height, width)
            away = offsets[:, :, :, i]  # (B, Q, heads, points, 2)
            if reference_points.shape[3] == 2:  # in pixels of the map
                away = torch.stack([away[..., 0] / width, away[..., 1] / height], 4)
            places = 2 * (centres[:, :, :, i] + away) - 1
            places = places.transpose(1, 2).flatten(0, 1)  # (B * heads, Q, points, 2)
            samples.append(F.grid_sample(x, places, align_corners=False))
        x = torch.cat(samples, 3)  # (B * heads, C / heads, Q, samples)
        x = (x * weights.flatten(0, 1)[:, None]).sum(3)
        x = x.reshape(batch, heads * channels, count).transpose(1, 2)
        return own.output_proj(x) + identity


class PixelDecoder(nn.Module):
    """What ``MSDeformAttnPixelDecoder`` computes (arXiv 2112.01527, section 3.2.2).

    Args:
        decoder: That one, its attention already a :class:`DeformableAttention`.
    """

    def __init__(self, decoder: nn.Module):
        super().__init__()
        self.decoder = decoder

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the map for masks, and maps for queries, the smallest first.

        Args:
            maps: (B, C, H, W) each, the largest first.
        """
        own, batch = self.decoder, maps[0].shape[0]
        encoded = list(reversed(range(len(maps))))[:own.num_encoder_levels]
        sizes = [maps[level].shape[2:] for level in encoded]
        tokens, positions, points = [], [], []
        for i, level in enumerate(encoded):
            x, (height, width) = own.input_convs[i](maps[level]), sizes[i]
            tokens.append(x.flatten(2).transpose(1, 2))
            # The toolbox's own name; the mask says that nothing is margin.
            place = own.postional_encoding(x.new_zeros(
                batch, height, width, dtype=torch.bool))
            place = place + own.level_encoding.weight[i][:, None, None]
            positions.append(place.flatten(2).transpose(1, 2))
            grid = own.point_generator.single_level_grid_priors(
                (height, width), level, device=x.device)
            stride = own.strides[level]
            points.append(torch.stack([grid[:, 0] / (width * stride),
                                       grid[:, 1] / (height * stride)], 1))
        points = torch.cat(points)[None, :, None].expand(
            batch, -1, len(encoded), 2)
        memory = own.encoder(
            query=torch.cat(tokens, 1), query_pos=torch.cat(positions, 1),
            key_padding_mask=None, spatial_shapes=sizes, reference_points=points,
            level_start_index=None, valid_ratios=None)
        memory = memory.transpose(1, 2).split(
            [height * width for height, width in sizes], 2)
        outs = [x.reshape(batch, x.shape[1], *size) for x, size in zip(memory, sizes)]
        rest = range(len(maps) - len(encoded))
        for level in reversed(rest):  # by which the toolbox finds its layers
            x = own.lateral_convs[level](maps[level])
            outs.append(own.output_convs[level](x + F.interpolate(
                outs[-1], x.shape[2:], mode='bilinear', align_corners=False)))
        return own.mask_feature(outs[-1]), outs[:own.num_outs]
