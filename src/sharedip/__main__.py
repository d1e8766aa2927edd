"""`python -m sharedip`: the same as `sharedip`."""

import sys

from sharedip.cli.main import main

sys.exit(main())
