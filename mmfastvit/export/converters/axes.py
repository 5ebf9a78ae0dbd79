"""Height and width that vary between bounds; converters import this by itself."""
import torch


def bounded_axes(divisor: int, least: int, most: int) -> dict:
    """Return what ``torch.export`` wants to know of height and width."""
    return {axis: divisor * torch.export.Dim(name, min=least // divisor,
                                             max=most // divisor)
            for axis, name in ((2, 'height'), (3, 'width'))}
