"""Where things are unless somebody says otherwise. Apart from the rest, for commands that read no document."""

from pathlib import Path
from typing import Final

STATE_DIR_DEFAULT: Final = Path("/run/sharedip")
"""On a tmpfs: what is kept there means nothing after a boot."""
DOCUMENTS_DEFAULT: Final = Path("/etc/sharedip")
KEPT_DIR_DEFAULT: Final = Path("/var/lib/sharedip")
"""It survives a boot; for what a start may need that `/run` has lost by then."""
