"""What an exported file is to be, and whether it can be that."""
from dataclasses import dataclass

from torch import nn

from mmfastvit.utils.errors import ArgumentError

from .formats import FORMATS, Format, onnx


@dataclass(frozen=True)
class Quantization:
    """How a file computes in fewer bits.

    Attributes:
        dtype: ``'float16'`` or ``'int8'``.
        calibration: A folder of pictures, or a config whose training pictures tell
            the range of activations; None takes those of the model's config.
        max_drop: Points, of 100, that AP50 of boxes or masks, mIoU or top-1 of the
            test data may lose.
    """

    dtype: str
    calibration: str | None = None
    max_drop: float = 1.


@dataclass(frozen=True)
class Options:
    """What a file is to be.

    Attributes:
        format: Of :data:`FORMATS`; None leaves it to the file's name.
        opset: Version of ONNX's operators, 11 to 20; None takes 20.
        size: Height and width, if the file is to take pictures of that size alone;
            by default it takes every size.
        backbone_only: Whether it gives the feature maps instead of the predictions.
        quantization: How it computes in fewer bits; None keeps float32.
        paste: Whether masks are to be pictures, not squares over their boxes.
    """

    format: str | None = None
    opset: int | None = None
    size: tuple[int, int] | None = None
    backbone_only: bool = False
    quantization: Quantization | None = None
    paste: bool = False


# Tasks of which no metric tells, in points, what fewer bits cost.
_UNJUDGED = {
    'features': 'only whole models, whose metric tells what it costs',
    'hand_mesh': 'of hands, errors are millimetres, and what fewer bits may cost is '
                 'known in points of a metric alone'}


def check_options(options: Options, kind: Format, task: str, module: nn.Module
                  ) -> None:
    """Raise ArgumentError if a model cannot leave as the options say.

    Args:
        options: What is asked for.
        kind: The file's format.
        task: Of :func:`mmfastvit.export.models.exportable`.
        module: Of it, too.
    """
    opset, quantization = options.opset, options.quantization
    if opset is not None:
        lowest, highest = onnx.OPSETS
        lowest = getattr(module, 'lowest_opset', lowest)
        if not kind.has_opsets:
            raise ArgumentError(f'opset={opset}: a file of {kind.name} has none; leave '
                                'it out.')
        if not lowest <= opset <= highest:
            raise ArgumentError(f'opset={opset}: give {lowest} to {highest}.')
    if kind.is_static and options.size is None:
        raise ArgumentError(f'{kind.name} takes pictures of one size: name it '
                            '(--static HxW).')
    if task in kind.lacks:
        raise ArgumentError(f'{kind.name} takes of a model for {task} the feature maps '
                            'alone (--backbone-only).')
    if quantization is None:
        return
    if quantization.dtype not in kind.dtypes:
        able = [row.name for row in FORMATS.values()
                if quantization.dtype in row.dtypes]
        raise ArgumentError(
            f'quantize={quantization.dtype}: allowed for {kind.name} are '
            f'{", ".join(kind.dtypes) or "none"}' + (
                f'; {quantization.dtype} have {", ".join(able)}.' if able else '.'))
    reason = _UNJUDGED.get(task)
    if is_old(opset):
        reason = f'of ONNX opset {onnx.LOWEST} or newer alone'
    if reason:
        raise ArgumentError(f'quantize={quantization.dtype}: {reason}; leave it out.')


def is_old(opset: int | None) -> bool:
    """Whether a version of ONNX's operators is what compilers of boards want."""
    return opset is not None and opset < onnx.LOWEST


def is_static(options: Options, kind: Format) -> bool:
    """Whether the file takes one picture at a time, of one size."""
    return kind.is_static or is_old(options.opset) and options.size is not None
