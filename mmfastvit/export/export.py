"""A model as one file, compared with PyTorch before it is kept."""
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.config import Config

from mmfastvit.checkpoints.work_dir import latest_checkpoint
from mmfastvit.utils.errors import ArgumentError, CheckpointError, UserError
from mmfastvit.utils.files import check_targets, size_of, whole_file
from mmfastvit_runtime import ExportedModel
from mmfastvit_runtime.errors import first_line

from .formats import Format, format_of, write_source
from .formats.onnx import OPSET
from .options import Options, is_static
from .preparation import Prepared, prepare
from .quantization import Costs, quantize
from .verification import Row, table, verify


@dataclass(frozen=True)
class Report:
    """What was written, and how it compares with PyTorch.

    Attributes:
        path: The exported file.
        size: Bytes of it, and of what it needs beside it.
        rows: The comparison; empty where this machine cannot run the file.
        metadata: Of the file.
        operators: How often each is in it, where compilers ask for that.
        costs: What fewer bits cost; None in float32. ``rows`` are then of the file
            in float32 that it was made of.
    """

    path: str
    size: int
    rows: list[Row]
    metadata: dict
    operators: dict[str, int]
    costs: Costs | None = None

    def __str__(self) -> str:
        verdict = (
            f'{"in float32 " * bool(self.costs)}computes what PyTorch computes:'
            if any(row.compared for row in self.rows) else
            'was NOT compared with PyTorch, which finds nothing in the pictures: give '
            'test data that shows objects:' if self.rows else
            'was NOT run: its runtime is on other machines')
        lines = [f'{self.path} ({self.size / 2**20:.1f} MiB) {verdict}']
        if self.rows:
            lines.append(table(self.rows))
        if self.operators:
            lines.append('  operators: ' + ', '.join(
                f'{count} {name}' for name, count in sorted(self.operators.items())))
        if self.costs:
            lines.append(str(self.costs))
        return '\n'.join(lines)


def export(cfg: Config, checkpoint: str, out: str, options: Options = Options()
           ) -> Report:
    """Write a model as one file, compare it with PyTorch, and keep it if equal.

    Beside it, ``.json`` after its name, is the comparison.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        checkpoint: Checkpoint of the whole model, in train or deploy form, or a
            work directory, whose latest is taken.
        out: File to write.
        options: What it is to be.

    Raises:
        ArgumentError: The model, or what is asked for, cannot be exported, or a file
            would replace the checkpoint or the config.
        CheckpointError: The checkpoint does not fit, or the file computes something
            else than the model.
        DataError: The test data, whose pictures it is compared on, is damaged;
            without any, pictures are generated.
    """
    kind = format_of(out, options.format)
    sources = [latest_checkpoint(checkpoint), cfg.filename]
    check_targets([out, f'{out}.json'], sources)
    own = prepare(cfg, checkpoint, kind, options)
    opset = {'opset': options.opset or OPSET} if kind.has_opsets else {}
    costs, operators = None, {}
    with ExitStack() as stack:
        unfinished = stack.enter_context(whole_file(out, kind.is_folder, sources))
        stack.enter_context(_libraries_errors(kind))
        if options.quantization is None:
            kind.write(own.graph, own.example, unfinished, own.metadata, **opset)
            rows = _verified(own, kind, unfinished)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            origin, source = write_source(kind, own.graph, own.example, own.metadata,
                                          folder, **opset)
            rows = _verified(own, origin, source.plain)
            costs = quantize(cfg, source, unfinished, kind, options.quantization,
                             own.pictures[0][None].numpy())
        size = size_of(unfinished.parent)
        if kind.operators and is_static(options, kind):
            operators = dict(kind.operators(unfinished))
        report = Report(str(out), size, rows, own.metadata, operators, costs)
        Path(f'{unfinished}.json').write_text(json.dumps(asdict(report), indent=1))
    return report


@contextmanager
def _libraries_errors(kind: Format) -> Iterator[None]:
    """Turn what exporters and runtimes raise, of any class, into one paragraph."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise ArgumentError(
            f'This model cannot leave as {kind.name}: {first_line(error)} Export its '
            'backbone alone (--backbone-only), or take another format.') from error


def _verified(own: Prepared, kind: Format, path: Path) -> list[Row]:
    """Return the comparison of a file with its model, none where it cannot run.

    Raises:
        CheckpointError: They differ.
    """
    rows = (verify(own.model, ExportedModel(kind.open(path)), own.pictures)
            if kind.open else [])
    if not all(row.passed for row in rows):
        raise CheckpointError(
            'Nothing was written, since the file computes something else than the '
            f'model:\n{table(rows)}\nDo the weights hold NaN? If not, please report '
            'it.')
    return rows
