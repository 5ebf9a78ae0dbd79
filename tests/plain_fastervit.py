"""FasterViT as one would write it down, under NVIDIA's key names: a peer for tests.

Explicit windows, positions computed each time, attention in plain operators, one
operation after the other.
"""
import torch
import torch.nn.functional as F
from torch import nn


def mlp(outputs):
    return nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, outputs, False))


class Embedding(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.cpb_mlp = mlp(channels)

    def forward(self, rows, columns):
        like = self.cpb_mlp[0].weight
        row, column = ((torch.arange(n, dtype=like.dtype) - n // 2) / (n // 2)
                       for n in (rows, columns))
        pairs = torch.stack([row[:, None].expand(rows, columns),
                             column.expand(rows, columns)], -1)
        return self.cpb_mlp(pairs).flatten(0, 1)


class Bias(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.cpb_mlp = mlp(heads)

    def forward(self, rows, columns):
        like = self.cpb_mlp[0].weight
        row, column = (t.flatten() for t in torch.meshgrid(
            torch.arange(rows), torch.arange(columns), indexing='ij'))
        pairs = []
        for place, length in ((row, rows), (column, columns)):
            offset = (place[:, None] - place).to(like.dtype)
            pairs.append(offset.sign() * torch.log2(
                1 + 8 * offset.abs() / (length - 1)) / 3)
        return 16 * self.cpb_mlp(torch.stack(pairs, -1)).sigmoid().permute(2, 0, 1)


class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.pos_emb_funct = Bias(heads)

    def forward(self, x, rows, columns, front):
        b, n, c = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = F.pad(self.pos_emb_funct(rows, columns), (front, 0, front, 0))
        weights = q @ k.transpose(2, 3) * q.shape[3] ** -0.5 + bias
        x = weights.softmax(-1) @ v
        return self.proj(x.transpose(1, 2).reshape(b, n, c))


class FeedForward(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, channels, heads, carriers, scale, propagates):
        super().__init__()
        self.propagates = propagates
        self.pos_embed = Embedding(channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn, self.mlp = Attention(channels, heads), FeedForward(channels)
        self.gamma1 = self.gamma2 = self.gamma3 = self.gamma4 = 1
        if carriers:
            self.hat_pos_embed = Embedding(channels)
            self.hat_norm1, self.hat_norm2 = (nn.LayerNorm(channels) for _ in range(2))
            self.hat_attn, self.hat_mlp = Attention(channels, heads), \
                FeedForward(channels)
        for i in range(1, 5) if scale else ():
            if carriers or i > 2:
                setattr(self, f'gamma{i}', nn.Parameter(torch.ones(channels)))

    def forward(self, x, t, rows, columns, k, c):
        """x (B, rows, columns, k * k, C); t (B, rows * c, columns * c, C) or None."""
        b, channels = len(x), x.shape[-1]
        x = x + self.pos_embed(k, k)
        front = 0
        if t is not None:
            front = c * c
            grid = rows * c, columns * c
            t = t.flatten(1, 2) + self.hat_pos_embed(*grid)
            t = t + self.gamma1 * self.hat_attn(self.hat_norm1(t), *grid, 0)
            t = t + self.gamma2 * self.hat_mlp(self.hat_norm2(t))
            t = t.view(b, rows, c, columns, c, channels).transpose(2, 3)
            x = torch.cat([t.reshape(b, rows, columns, front, channels), x], 3)
        z = x.flatten(0, 2)
        z = z + self.gamma3 * self.attn(self.norm1(z), k, k, front)
        z = z + self.gamma4 * self.mlp(self.norm2(z))
        z = z.view(b, rows, columns, -1, channels)
        if t is None:
            return z, None
        t, x = z[..., :front, :], z[..., front:, :]
        if self.propagates:
            square = t.reshape(-1, c, c, channels).permute(0, 3, 1, 2)
            large = F.interpolate(square, size=(k, k), mode='nearest')
            x = x + self.gamma1 * large.flatten(2).transpose(1, 2).view(x.shape)
        t = t.reshape(b, rows, columns, c, c, channels).transpose(2, 3)
        return x, t.reshape(b, rows * c, columns * c, channels)


class Tokenizer(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.to_global_feature = nn.ModuleDict(dict(
            pos=nn.Conv2d(channels, channels, 3, 1, 1, groups=channels)))

    def forward(self, x, rows, columns, c):
        x = self.to_global_feature['pos'](x)
        stride = [p // (c * n) for p, n in zip(x.shape[2:], (rows, columns))]
        kernel = [p - (c * n - 1) * s
                  for p, n, s in zip(x.shape[2:], (rows, columns), stride)]
        return F.avg_pool2d(x, kernel, stride).permute(0, 2, 3, 1)


class ConvBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, 1, 1)
                                  for _ in range(2))
        self.norm1, self.norm2 = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + self.norm2(self.conv2(F.gelu(self.norm1(self.conv1(x)))))


class Downsample(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.reduction = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, 2, 1, bias=False))

    def forward(self, x):
        return self.reduction(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class Stage(nn.Module):
    def __init__(self, variant, i):
        super().__init__()
        mixer, channels = variant.token_mixers[i], variant.embed_dims[i]
        self.k, self.c = variant.window_sizes[i], variant.carrier_size
        carriers = mixer == 'carrier'
        last = variant.depths[i] - 1
        self.blocks = nn.ModuleList(
            ConvBlock(channels) if mixer == 'conv' else Block(
                channels, variant.num_heads[i], carriers,
                variant.layer_scale_init_value is not None,
                variant.propagates and j == last) for j in range(last + 1))
        self.global_tokenizer = Tokenizer(channels) if carriers else None
        self.downsample = Downsample(channels) if i < 3 else None
        self.conv = mixer == 'conv'

    def forward(self, x):
        if self.conv:
            for block in self.blocks:
                x = block(x)
            return x
        h, w = x.shape[2:]
        k = self.k
        x = F.pad(x, (0, -w % k, 0, -h % k))
        b, channels, hp, wp = x.shape
        rows, columns = hp // k, wp // k
        t = None
        if self.global_tokenizer is not None and rows * columns > 1:
            t = self.global_tokenizer(x, rows, columns, self.c)
        x = x.view(b, channels, rows, k, columns, k).permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(b, rows, columns, k * k, channels)
        for block in self.blocks:
            x, t = block(x, t, rows, columns, k, self.c)
        x = x.view(b, rows, columns, k, k, channels).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(b, channels, hp, wp)[:, :, :h, :w]


class Stem(nn.Module):
    def __init__(self, hidden, channels):
        super().__init__()
        self.conv_down = nn.Sequential(
            nn.Conv2d(3, hidden, 3, 2, 1, bias=False), nn.BatchNorm2d(hidden, eps=1e-4),
            nn.ReLU(), nn.Conv2d(hidden, channels, 3, 2, 1, bias=False),
            nn.BatchNorm2d(channels, eps=1e-4), nn.ReLU())

    def forward(self, x):
        return self.conv_down(x)


class PlainFasterViT(nn.Module):
    def __init__(self, variant):
        super().__init__()
        self.patch_embed = Stem(variant.stem_channels, variant.embed_dims[0])
        self.levels = nn.ModuleList(Stage(variant, i) for i in range(4))

    def forward(self, x):
        x = self.patch_embed(x)
        maps = []
        for level in self.levels:
            if maps:
                x = self.levels[len(maps) - 1].downsample(x)
            x = level(x)
            maps.append(x)
        return tuple(maps)
