"""`Layer2VIPConfig`, exactly as Talos has it: apiVersion, kind, name (the address), link.

Role: one document → one VIP. Must never: accept a field that Talos would refuse.
Counterpart: siderolabs/talos pkg/machinery/config/types/network/layer2_vip.go.
"""

from __future__ import annotations

from sharedip.config.checks import PlacedVip
from sharedip.config.fields import Fields
from sharedip.config.values import link_name, vip_address
from sharedip.core.model import Vip

API_VERSION = "v1alpha1"
KIND = "Layer2VIPConfig"


def read_layer2_vip(fields: Fields) -> PlacedVip | None:
    """Read one document whose kind and version were looked at already."""
    fields.has("apiVersion")
    fields.has("kind")
    address = fields.require("name", vip_address, "write the VIP, such as name: 192.168.0.15")
    link = fields.require("link", link_name, "write the link that carries the VIP, such as link: eth0")
    fields.close()
    if address is None or link is None:
        return None
    return PlacedVip(Vip(address, link), fields.place("name"))
