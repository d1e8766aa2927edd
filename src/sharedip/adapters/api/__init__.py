"""Local control over a unix socket; status page, metrics and health over TCP.

One package because its modules lean on each other. `server` listens, `connection` speaks HTTP with limits, `routes`
says what is behind which path, `watchers` has a queue for each watcher, `metrics` reads the status document.
"""

from sharedip.adapters.api.metrics import render_metrics
from sharedip.adapters.api.server import Api

__all__ = ["Api", "render_metrics"]
