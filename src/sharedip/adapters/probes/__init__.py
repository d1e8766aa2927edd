"""Health probes: is what runs on this node fit to be behind the address?

One package because its modules lean on each other. Probes find out, `core/health.py` judges.
"""

from sharedip.adapters.probes.runner import ProbeRunner

__all__ = ["ProbeRunner"]
