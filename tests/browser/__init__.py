"""The status page in a real browser: `make test-page` (Debian's chromium). No part of `make test`."""
