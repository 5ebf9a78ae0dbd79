"""Run an exported file for another process: ``serve.py FILE FOLDER``.

For each line that comes in, it reads ``pictures.npy`` of the folder, writes
``found.npz`` and says ``DONE``.
"""
import os
import site
import sys
from pathlib import Path

RUNTIME = Path(__file__).resolve().parents[3] / 'runtime'


def main() -> None:
    sys.path.insert(0, str(RUNTIME))  # of a checkout; else it is installed
    site.addsitedir(os.environ['MMFASTVIT_BESIDE'])
    import numpy as np

    from mmfastvit_runtime import PredictionError
    from mmfastvit_runtime.engines import ENGINES
    path, folder = map(Path, sys.argv[1:])
    try:
        engine = ENGINES[path.suffix][0](path)
        print('DONE', flush=True)
        for _ in sys.stdin:
            found = engine.run(np.load(folder / 'pictures.npy'))
            np.savez(folder / 'found.npz', **found)
            print('DONE', flush=True)
    except Exception as error:  # the libraries have classes of their own
        text = str(error) if isinstance(error, PredictionError) else repr(error)
        print('ERROR', text.replace('\n', ' '), flush=True)


if __name__ == '__main__':
    main()
