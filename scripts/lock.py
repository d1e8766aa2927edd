"""Print the development lock: every distribution of this environment with its exact version, but for our own."""

from __future__ import annotations

import re
from importlib import metadata

_NOT_OURS = {"sharedip", "sharedip-lab", "pip", "setuptools"}


def main() -> None:
    """One line a distribution, sorted, in the form that pip installs from."""
    found = {
        re.sub(r"[-_.]+", "-", dist.metadata["Name"]).lower(): dist.version
        for dist in metadata.distributions()
        if dist.metadata["Name"]
    }
    print("# The development lock: `make lock` writes it from a working environment, `make setup` installs from it.")
    for name, version in sorted(found.items()):
        if name not in _NOT_OURS:
            print(f"{name}=={version}")


if __name__ == "__main__":
    main()
