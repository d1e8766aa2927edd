"""What `sharedip check` tries of a real etcd: the rights that the agent will need, and nothing that stays."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

from sharedip.cli.etcd_survey import survey_etcd
from sharedip.config.load import parse
from sharedip.config.model import Config
from tests.contract.etcd.etcd_cluster import Cluster, Release

VIP = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 10.0.0.15\nlink: eth0\n---\n"


def config(cluster: Cluster, fields: str) -> Config:
    agent = f"apiVersion: v1alpha1\nkind: AgentConfig\nnodeName: n1\netcd: {{endpoints: [{cluster.urls[0]}], {fields}}}"
    loaded = parse({"vip.yaml": VIP + agent}, "n1")
    assert loaded.config is not None, loaded.problems
    return loaded.config


def test_rights_under_the_prefix_are_tried_and_nothing_is_written(release: Release, tmp_path: Path) -> None:
    """As docs/etcd.md has an operator grant them, and with one of them missing."""
    password = tmp_path / "password"
    password.write_text("secret\n")

    def refused(cluster: Cluster, fields: str) -> str:
        return asyncio.run(survey_etcd(config(cluster, fields))).refused

    with Cluster(release, tmp_path / "etcd") as cluster:
        assert refused(cluster, "") == ""
        for words in (
            ("user", "add", "root:root"),
            ("user", "grant-role", "root", "root"),
            *_role("all", "readwrite", "sharedip:v1:"),
            *_role("looks", "read", "sharedip:v1:"),
            ("auth", "enable"),
        ):
            cluster.ctl(*words)
        user = f"passwordFile: {password}, username"
        assert refused(cluster, f"{user}: all") == ""
        assert "permission denied" in refused(cluster, f"{user}: looks")
        assert "permission denied" in refused(cluster, f"{user}: all, keyPrefix: other")
        assert refused(cluster, "") != ""
        as_root = ("--user", "root:root")
        assert "sharedip" not in cluster.ctl(*as_root, "get", "--prefix", "--keys-only", "")


def test_another_machine_s_agent_with_this_name_is_found(release: Release, tmp_path: Path) -> None:
    with Cluster(release, tmp_path / "etcd") as cluster:
        agent = config(cluster, "")
        record = '{"node":"n1","peer":"10.9.9.9:9470","machine":"another"}'
        cluster.ctl("put", "sharedip:v1:vip:agent:n1", record)
        assert asyncio.run(survey_etcd(agent)).namesake == "10.9.9.9:9470"
        assert asyncio.run(survey_etcd(agent, [ip_address("10.9.9.9")])).namesake == ""


def _role(name: str, kind: str, prefix: str) -> tuple[tuple[str, ...], ...]:
    return (
        ("role", "add", name),
        ("role", "grant-permission", name, "--prefix=true", kind, prefix),
        ("user", "add", f"{name}:secret"),
        ("user", "grant-role", name, name),
    )
