"""Single values: what is read, and what the refusal of the others says."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from sharedip.config import values
from sharedip.config.model import EtcdUrl, HttpUrl
from sharedip.config.values import UnusableError


def refusal(read: Callable[[str], object], text: str) -> str:
    with pytest.raises(UnusableError) as caught:
        read(text)
    return f"{caught.value.message}; {caught.value.remedy}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("300ms", 0.3), ("1m30s", 90.0), ("1.5s", 1.5), ("0.25s", 0.25), ("1h", 3600.0), ("1s500ms", 1.5)],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert values.duration(0, 10_000)(text) == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("15", '"15" has no unit; write 15s, or 15ms'),
        ("", '"" is not a duration; write one such as 1s, 300ms or 1m30s'),
        ("1 s", '"1 s" is not a duration; write one such as 1s, 300ms or 1m30s'),
        ("-1s", '"-1s" is not a duration; write one such as 1s, 300ms or 1m30s'),
        ("1d", '"1d" is not a duration; write one such as 1s, 300ms or 1m30s'),
        ("٣s", '"٣s" is not a duration; write one such as 1s, 300ms or 1m30s'),
        ("0.1ms", '"0.1ms" is finer than a millisecond; write whole milliseconds'),
        ("0s", '"0s" is too short; write 300ms or more, up to 1m'),
        ("2m", '"2m" is too long; write 1m or less'),
        ("999999999h", '"999999999h" is too long; write 1m or less'),
    ],
)
def test_other_durations_are_refused(text: str, says: str) -> None:
    assert refusal(values.duration(0.3, 60), text) == says


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.3, "300ms"), (2.1, "2.1s"), (3, "3s"), (60, "1m"), (90, "90s"), (600, "10m"), (0, "0s")]
)
def test_durations_are_written_without_needless_digits(seconds: float, text: str) -> None:
    assert values.written(seconds) == text


@pytest.mark.parametrize("text", ["192.168.0.15", "10.0.0.1", "169.254.1.1", "203.0.113.9", "fd00::15", "2001:db8::1"])
def test_addresses_that_a_vip_can_have(text: str) -> None:
    assert values.vip_address(text) == ip_address(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("192.168.0.15/24", '"192.168.0.15/24" has a prefix length; write the address alone: 192.168.0.15'),
        ("fd00::1/64", '"fd00::1/64" has a prefix length; write the address alone: fd00::1'),
        ("192.168.0.15:6443", '"192.168.0.15:6443" has brackets or a port; write the address alone: 192.168.0.15'),
        ("[fd00::1]:6443", '"[fd00::1]:6443" has brackets or a port; write the address alone: fd00::1'),
        ("[fd00::1]", '"[fd00::1]" has brackets or a port; write the address alone: fd00::1'),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1 is an IPv4 address in IPv6's clothes; write 10.0.0.1"),
        ("fe80::1%eth0", '"fe80::1%eth0" names a zone; write the address alone; the link has a field of its own'),
        ("vip.example", '"vip.example" is a name, not an address; write the IP address itself'),
        (
            "192.168.0.256",
            '"192.168.0.256" is not an IPv4 address; write four numbers from 0 to 255 without leading zeros',
        ),
        (
            "192.168.0.015",
            '"192.168.0.015" is not an IPv4 address; write four numbers from 0 to 255 without leading zeros',
        ),
        ("10.0.1", '"10.0.1" is not an IPv4 address; write four numbers from 0 to 255 without leading zeros'),
        ("fd00:::1", '"fd00:::1" is not an IP address; write one such as 192.168.0.15 or fd00::15'),
        ("", '"" is not an IP address; write one such as 192.168.0.15 or fd00::15'),
        ("int0 ", '"int0 " is not an IP address; write one such as 192.168.0.15 or fd00::15'),
    ],
)
def test_what_is_no_address_is_told_apart(text: str, says: str) -> None:
    assert refusal(values.vip_address, text) == says


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("127.0.0.1", "a loopback address, which no other machine reaches"),
        ("::1", "a loopback address, which no other machine reaches"),
        ("224.0.0.18", "a multicast address, which many hosts share by design"),
        ("ff02::1", "a multicast address, which many hosts share by design"),
        ("0.0.0.0", "an unspecified address"),
        ("0.1.2.3", "an unspecified address"),
        ("::", "an unspecified address"),
        ("fe80::1", "a link-local address, which clients can use only with a zone"),
        ("255.255.255.255", "the broadcast address"),
        ("240.0.0.1", "in a range that is reserved by the IETF"),
        ("4000::1", "in a range that is reserved by the IETF"),
    ],
)
def test_addresses_that_no_vip_can_have(text: str, kind: str) -> None:
    assert refusal(values.vip_address, text) == f"{text} is {kind}; choose an unused address of the link's subnet"


@pytest.mark.parametrize("name", ["eth0", "enp0s2", "bond0.100", "br-lan", "x" * 127, "ä0", "wan@home"])
def test_link_names(name: str) -> None:
    assert values.link_name(name) == name


@pytest.mark.parametrize("name", ["eth 0", "eth/0", "eth\u200b0"])
def test_a_link_name_has_no_slash_space_or_invisible_character(name: str) -> None:
    assert "has a slash, a space or an invisible character" in refusal(values.link_name, name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", '"" names no link; write the link\'s name as `ip link` shows it'),
        ("..", '".." names no link; write the link\'s name as `ip link` shows it'),
        ("eth0:1", '"eth0:1" is an address label, not a link; write "eth0"'),
        ("lo", "nobody hears announcements on the loopback link; write the link that the clients reach"),
    ],
)
def test_what_names_no_link(name: str, says: str) -> None:
    assert refusal(values.link_name, name) == says


def test_a_link_name_is_measured_in_bytes() -> None:
    assert "longer than any link's name" in refusal(values.link_name, "ä" * 64)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://127.0.0.1:2379", EtcdUrl(tls=True, host="127.0.0.1", port=2379)),
        ("http://etcd-1.example", EtcdUrl(tls=False, host="etcd-1.example", port=2379)),
        ("HTTPS://[FD00::1]", EtcdUrl(tls=True, host="fd00::1", port=2379)),
        ("https://a:1/", EtcdUrl(tls=True, host="a", port=1)),
    ],
)
def test_endpoints(text: str, expected: EtcdUrl) -> None:
    assert values.endpoint(text) == expected


def test_an_endpoint_is_written_as_a_url() -> None:
    assert str(EtcdUrl(tls=True, host="fd00::1", port=2379)) == "https://[fd00::1]:2379"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("127.0.0.1:2379", "is not a URL"),
        ("unix:///run/etcd.sock", '"unix" is not a scheme that works here'),
        ("https://", "there is no host"),
        ("https://:2379", "there is no host"),
        ("https://a:x", "has no usable port"),
        ("https://a:65536", "has no usable port"),
        ("https://a:", "has no usable port"),
        ("https://a/v3", "has something behind host and port"),
        ("https://a?x", "has something behind host and port"),
        ("https://fd00::1:2379", "has an IPv6 address without brackets"),
        ("https://[10.0.0.1]:2379", "has no IPv6 address in its brackets"),
        ("https://[fe80::1%eth0]:2379", "has no IPv6 address in its brackets"),
        ("https://10.0.0.300:2379", '"10.0.0.300" is not an IPv4 address'),
        ("https://a b:2379", '"a b" is not a host'),
        ("https://-a:2379", '"-a" is not a host'),
    ],
)
def test_what_is_no_endpoint(text: str, says: str) -> None:
    assert says in refusal(values.endpoint, text)


@pytest.mark.parametrize("text", ["https://root:secret@10.0.0.1:2379", "root:secret@10.0.0.1:2379", "ftp://u:secret@a"])
def test_a_password_in_a_url_is_refused_and_not_repeated(text: str) -> None:
    answer = refusal(values.endpoint, text)
    assert answer == "the URL carries credentials; use username and passwordFile, or certificates"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "https://127.0.0.1:6443/readyz?verbose",
            HttpUrl(tls=True, host="127.0.0.1", port=6443, target="/readyz?verbose"),
        ),
        ("http://localhost", HttpUrl(tls=False, host="localhost", port=80, target="/")),
        ("https://a?x=1#part", HttpUrl(tls=True, host="a", port=443, target="/?x=1")),
    ],
)
def test_urls_of_health_checks(text: str, expected: HttpUrl) -> None:
    assert values.http_url(text) == expected


def test_a_space_in_a_url_is_refused() -> None:
    assert "a character that a URL can't have" in refusal(values.http_url, "http://a/b c")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.0.0.0:9470", ("0.0.0.0", 9470)), ("[::]:1", ("::", 1)), ("[FD00::1]:65535", ("fd00::1", 65535))],
)
def test_addresses_to_listen_on(text: str, expected: tuple[str, int]) -> None:
    assert values.listen_address(text) == expected


@pytest.mark.parametrize("text", ["9470", ":9470", "localhost:9470", "0.0.0.0", "[::]", "::", "10.0.0.1:0", ""])
def test_what_nobody_can_listen_on(text: str) -> None:
    refusal(values.listen_address, text)


@pytest.mark.parametrize("name", ["cp1", "cp-1.example.com", "a", "Node_1", "x" * 253])
def test_node_names(name: str) -> None:
    assert values.node_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "é", "x" * 254, "a\n"])
def test_what_is_no_node_name(name: str) -> None:
    assert "is not a node name" in refusal(values.node_name, name)


@pytest.mark.parametrize("prefix", ["sharedip:v1", "talos:v1", "a", "/registry/x", "x" * 128])
def test_key_prefixes(prefix: str) -> None:
    assert values.key_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["", ":", "a:", ":a", "a b", "é", "x" * 129])
def test_what_is_no_key_prefix(prefix: str) -> None:
    assert "is not a key prefix" in refusal(values.key_prefix, prefix)


def test_the_state_directory_leaves_room_for_the_socket_in_it() -> None:
    fits = "/" + "x" * 95
    assert values.state_dir(fits) == Path(fits)
    assert "too long for the socket" in refusal(values.state_dir, fits + "x")


@pytest.mark.parametrize("text", ["run/sharedip", "", "~/x", "/a\nb", "/" + "x" * 5000])
def test_what_is_no_absolute_path(text: str) -> None:
    refusal(values.absolute_path, text)


def test_a_password_in_place_of_its_file_is_not_repeated() -> None:
    answer = refusal(values.password_path, "secret")
    assert answer == "this is not an absolute path; write the path of a file that holds the password"


def test_a_long_or_odd_value_is_shown_short_and_on_one_line() -> None:
    assert refusal(values.node_name, "\n" * 500).startswith('"' + "\\n" * 59 + "…")
