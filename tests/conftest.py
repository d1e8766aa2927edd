"""What all storeys share."""

import gc

from hypothesis import settings

settings.register_profile("quick", max_examples=20)
"""A fifth of the examples, but where a test says itself how many: `make check` asks for it."""


def pytest_collection_finish() -> None:
    """Freeze the heap: no collection walks thousands of tests again, which was a fifth of the quick part."""
    gc.collect()
    gc.freeze()
