"""A stand-in for the agent: etcd's election over the JSON gateway, the address with `ip`. For tests of the lab alone.

Role: the command line that the lab starts (`run -c PATH`), so that the lab can be tested by itself. With `careless`
as first word it neither gives the address a lifetime nor lets go in time: the lab must catch it with two owners.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from ipaddress import IPv4Address, ip_address
from typing import Any

import yaml

from sharedip_lab.world import frames

MARGIN_S = 0.3
SLACK_S = 0.4  # what the program that sets the address may take on a busy machine, or when it is starved
LATE_S = 1.0  # the kernel removes an expired address up to a second late


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Agent:
    def __init__(self, path: str, careless: bool) -> None:
        with open(path, encoding="utf-8") as file:
            documents = list(yaml.safe_load_all(file))
        own = next(document for document in documents if document["kind"] == "AgentConfig")
        self.vips = [d["name"] for d in documents if d["kind"] == "Layer2VIPConfig"]
        self.links = {d["name"]: d["link"] for d in documents if d["kind"] == "Layer2VIPConfig"}
        self.name = own["nodeName"]
        self.endpoints = [url.removeprefix("http://") for url in own["etcd"]["endpoints"]]
        self.ttl = int(str(own.get("lease", {}).get("ttl", "3s")).removesuffix("s"))
        self.careless = careless
        self.lease = ""
        self.until = 0.0
        self.held: set[str] = set()
        self.stop = threading.Event()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        for endpoint in self.endpoints:
            connection = http.client.HTTPConnection(endpoint, timeout=0.5)
            try:
                connection.request("POST", path, json.dumps(body))
                answer = connection.getresponse()
                said: dict[str, Any] = json.loads(answer.read())
                if answer.status == 200:
                    return said
            except (OSError, http.client.HTTPException, ValueError):
                continue
            finally:
                connection.close()
        return None

    def renew(self) -> None:
        sent = time.clock_gettime(time.CLOCK_BOOTTIME)
        if self.lease:
            said = self.post("/v3/lease/keepalive", {"ID": self.lease})
            if said and int(said["result"].get("TTL", 0)) > 0:
                if self.keys(self.vips[0]) is not None:  # a linearizable read: an etcd leader that was cut off can't
                    self.until = sent + self.ttl - MARGIN_S
                return
            if said:
                self.lease = ""
        if not self.lease and (said := self.post("/v3/lease/grant", {"TTL": str(self.ttl)})):
            self.lease = said["ID"]
            self.until = sent + self.ttl - MARGIN_S

    def key(self, vip: str) -> str:
        return f"sharedip:v1:vip:election:{vip}/{int(self.lease):x}"

    def keys(self, vip: str) -> list[dict[str, Any]] | None:
        prefix = f"sharedip:v1:vip:election:{vip}/"
        said = self.post(
            "/v3/kv/range",
            {"key": b64(prefix), "range_end": b64(prefix[:-1] + "0"), "sort_target": "CREATE", "sort_order": "ASCEND"},
        )
        return None if said is None else said.get("kvs", [])

    def campaign(self, vip: str) -> bool:
        keys = self.keys(vip)
        if keys is None:
            return vip in self.held
        mine = b64(self.key(vip))
        if all(kv["key"] != mine for kv in keys):
            self.post(
                "/v3/kv/txn",
                {
                    "compare": [{"key": mine, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}],
                    "success": [{"request_put": {"key": mine, "value": b64(self.name), "lease": self.lease}}],
                },
            )
            return False
        return bool(keys[0]["key"] == mine)

    def ip(self, verb: str, vip: str) -> None:
        width, lasts_s = "128" if ":" in vip else "32", 0
        words = ["ip", "address", verb, f"{vip}/{width}", "dev", self.links[vip]]
        if verb == "replace":
            words += ["nodad"] if ":" in vip else []
            left = self.until - LATE_S - time.clock_gettime(time.CLOCK_BOOTTIME)
            if not self.careless:
                if left < 1 + SLACK_S:
                    return
                lasts_s = int(left - SLACK_S)
                words += ["valid_lft", str(lasts_s), "preferred_lft", "0"]
        subprocess.run(words, capture_output=True, check=False)
        # On a busy machine the program may have run late: what it has set would then outlast the lease.
        if lasts_s and time.clock_gettime(time.CLOCK_BOOTTIME) + lasts_s + LATE_S > self.until:
            self.ip("del", vip)

    def take(self, vip: str) -> None:
        self.ip("replace", vip)
        if vip not in self.held:
            self.held.add(vip)
            self.announce(vip)
            print(json.dumps({"event": "took", "vip": vip}), flush=True)

    def announce(self, vip: str) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((self.links[vip], 0))
            mac = sock.getsockname()[4]
            address = ip_address(vip)
            if isinstance(address, IPv4Address):
                sock.send(frames.arp_request(mac, address, address))
            else:
                sock.send(frames.neighbour_advertisement(mac, address))

    def drop(self, vip: str) -> None:
        self.ip("del", vip)
        self.held.discard(vip)

    def main(self) -> int:
        signal.signal(signal.SIGTERM, lambda *_: self.stop.set())
        renewed_at = 0.0
        ready = False
        while not self.stop.is_set():
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            if now - renewed_at > self.ttl / 6:
                renewed_at = now
                self.renew()
            for vip in self.vips:
                if self.lease and self.campaign(vip) and (self.careless or now < self.until):
                    self.take(vip)
                elif vip in self.held and not self.careless:
                    self.drop(vip)
            if self.lease and not ready and "NOTIFY_SOCKET" in os.environ:
                ready = True
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                    sock.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
            self.stop.wait(0.05)
        for vip in list(self.held):
            self.drop(vip)
        if self.lease:
            self.post("/v3/lease/revoke", {"ID": self.lease})
        return 0


if __name__ == "__main__":
    words = sys.argv[1:]
    careless = words[0] == "careless"
    sys.exit(Agent(words[words.index("-c") + 1], careless).main())
