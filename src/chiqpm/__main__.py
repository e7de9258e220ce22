"""`python -m chiqpm` is `chiqpm`."""

import sys

from chiqpm.cli import main

if __name__ == "__main__":
    sys.exit(main())
