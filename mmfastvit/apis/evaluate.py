"""A data set's metrics, of a checkpoint or of an exported file."""
from pathlib import Path

from mmengine.config import Config

from mmfastvit.engine.runner import test
from mmfastvit_runtime.engines import ENGINES


def evaluate(cfg: Config, model: str) -> dict[str, float]:
    """Evaluate a model with the config's test data and metrics.

    Args:
        cfg: From :func:`mmfastvit.engine.config.load_config`.
        model: A checkpoint of the whole model, or a work directory, whose latest
            is taken, or a file that ``tools/export.py`` wrote.

    Returns:
        The metrics, by name.

    Raises:
        DataError: The test data is missing.
        CheckpointError: The file cannot be read or does not fit.
    """
    if Path(model).suffix in ENGINES:
        from mmfastvit.export.evaluation import ExportedPredictor  # needs a runtime
        return test(cfg, ExportedPredictor(model, cfg.default_scope))
    return test(cfg, model)
