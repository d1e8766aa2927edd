"""What the agent's start costs: medians of fresh interpreters, and the modules that take longest.

`.venv/bin/python bench/start_up.py [RUNS]`. The lab's bench measures the whole start, to READY=1; this one tells where
the time and the memory go, when that figure grows. Needs neither root nor etcd.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

STEPS = {
    "bare interpreter": "",
    "asyncio, ssl": "import asyncio, ssl",
    "the core": "import sharedip.core.node",
    "documents": "import sharedip.config.load",
    "etcd's client": "import sharedip.adapters.etcd.client",
    "the whole agent": "import sharedip.agent.run",
}
_MEASURE = """
import resource, time
began = time.perf_counter()
{code}
took = time.perf_counter() - began
with open("/proc/self/statm", encoding="ascii") as statm:
    print(took, int(statm.read().split()[1]) * resource.getpagesize())
"""
SHOWN = 15


def measured(code: str, runs: int) -> tuple[float, float]:
    """Median milliseconds of the imports, and megabytes resident after them."""
    said = [
        subprocess.run([sys.executable, "-c", _MEASURE.format(code=code)], check=True, capture_output=True, text=True)
        for _ in range(runs)
    ]
    pairs = [(float(one.stdout.split()[0]), float(one.stdout.split()[1])) for one in said]
    return 1000 * statistics.median(took for took, _ in pairs), statistics.median(rss for _, rss in pairs) / 1e6


def slowest(code: str) -> list[tuple[int, str]]:
    """(own microseconds, module), the longest first: `python -X importtime`."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], check=True, capture_output=True, text=True)
    found = []
    for line in done.stderr.splitlines():
        own, bar, rest = line.removeprefix("import time:").partition("|")
        if bar and own.strip().isdigit():
            found.append((int(own), rest.partition("|")[2].strip()))
    return sorted(found, reverse=True)


def main() -> None:
    """Print both tables."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    for name, code in STEPS.items():
        took_ms, rss_mb = measured(code, runs)
        print(f"{name:<18} {took_ms:7.1f} ms  {rss_mb:6.1f} MB")
    print(f"\nthe {SHOWN} slowest modules of the agent, without what they import themselves:")
    for own_us, module in slowest(STEPS["the whole agent"])[:SHOWN]:
        print(f"{own_us / 1000:7.1f} ms  {module}")


if __name__ == "__main__":
    main()
