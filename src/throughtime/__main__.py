"""`python -m throughtime`: the command line."""

import sys

from throughtime.cli import main

sys.exit(main())
