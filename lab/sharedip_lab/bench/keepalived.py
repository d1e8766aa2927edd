"""keepalived in the agents' place, for comparison: VRRP version 3, multicast, no etcd.

Role: its configuration, as its manual has it, and a stage for each time between adverts.
Must never: weaken keepalived for the comparison. Counterparts: `others.py`, `sections.py`.
"""

from __future__ import annotations

from pathlib import Path

from sharedip_lab.bench.others import GROUP, OtherStage
from sharedip_lab.world.topology import LINK, Place

HIGHEST_PRIORITY = 150
PRIORITY_STEP = 10


def configuration(place: Place, vip: str, advert_s: float) -> str:
    """One VRRP instance. `nopreempt`, so that a node that returns does not take the address back."""
    priority = HIGHEST_PRIORITY - PRIORITY_STEP * place.index
    return f"""global_defs {{
  router_id {place.name}
  vrrp_version 3
}}
vrrp_instance lab {{
  state BACKUP
  nopreempt
  interface {LINK}
  virtual_router_id {GROUP}
  priority {priority}
  advert_int {advert_s:g}
  virtual_ipaddress {{
    {vip}/32 dev {LINK}
  }}
}}
"""


class KeepalivedStage(OtherStage):
    """Adverts every second, which is its default."""

    program = package = "keepalived"
    advert_s = 1.0

    def command(self, place: Place, directory: Path) -> list[str]:
        """VRRP alone, in the foreground."""
        path = directory / "keepalived.conf"
        path.write_text(configuration(place, self.plan.vips[0], self.advert_s), encoding="utf-8")
        pids = [f"--{kind}pid={directory / kind}pid" for kind in ("", "vrrp_")]
        return ["keepalived", "-P", "-n", "-l", "-G", "-f", str(path), *pids]


class KeepalivedTenthStage(KeepalivedStage):
    """The same with adverts every 0.1 s."""

    advert_s = 0.1


class KeepalivedQuickStage(KeepalivedStage):
    """The same with adverts every 30 ms."""

    advert_s = 0.03
