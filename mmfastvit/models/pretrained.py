"""What ``init_cfg=dict(type='Pretrained', …)`` means for our modules."""
from mmengine.model import BaseModule, PretrainedInit

from mmfastvit.checkpoints.load import load_pretrained


class PretrainedModule(BaseModule):
    """A module with ``weights`` that ``init_cfg`` fills, all of it or not at all.

    MMEngine's own loader would match nothing and go on when key names differ.
    """

    def init_weights(self) -> None:
        """Load what ``init_cfg`` names; parameters are drawn at construction.

        Raises:
            CheckpointError: The checkpoint does not fill this module.
        """
        init_cfg = self.init_cfg
        cfgs = init_cfg if isinstance(init_cfg, list) else [init_cfg or {}]
        pretrained = [cfg for cfg in cfgs
                      if cfg.get('type') in ('Pretrained', PretrainedInit)]
        try:
            self.init_cfg = [cfg for cfg in cfgs
                             if cfg and cfg not in pretrained]
            super().init_weights()
        finally:
            self.init_cfg = init_cfg
        for cfg in pretrained:
            load_pretrained(self, cfg['checkpoint'], cfg.get('prefix'),
                            adapt_input=cfg.get('adapt_input', False))
