"""`python -m supervisor CONFIG` is `seawall run CONFIG`."""

from __future__ import annotations

import sys

from supervisor.cli.main import main

if __name__ == "__main__":
    sys.argv[1:] = ["run", *sys.argv[1:]]
    main()
