"""Predict with an exported file: the command ``mmfastvit-predict``."""
from mmfastvit_runtime.command import main

if __name__ == '__main__':
    main()
