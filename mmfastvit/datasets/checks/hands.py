"""FreiHAND's layout: are the lists there?"""
from mmengine.config import Config

from .sets import DataSet


def check(data: DataSet, cfg: Config, alone: bool) -> None:
    """Raise :class:`MissingDataError` if a list is missing.

    What is in the lists, the data set itself checks when it reads them.

    Args:
        data: A FreiHANDDataset.
        cfg: Of the whole run.
        alone: Whether it is all of the data of its split.
    """
    data.built.check_presence()
