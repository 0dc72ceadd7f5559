import pytest

from soma_api.client_addresses import client_network


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        (None, "unknown"),
        ("testclient", "unknown"),
    ],
)
def test_a_client_is_its_ipv4_address_or_the_network_of_its_ipv6_address(
    peer: str | None, network: str
) -> None:
    assert client_network(peer, [], 0) == network


def test_without_a_trusted_proxy_what_is_forwarded_counts_for_nothing() -> None:
    assert client_network("192.0.2.7", ["198.51.100.1"], 0) == "192.0.2.7"


@pytest.mark.parametrize(
    ("forwarded", "trusted_proxies", "network"),
    [
        (["198.51.100.1"], 1, "198.51.100.1"),
        (["203.0.113.9, 198.51.100.1"], 1, "198.51.100.1"),
        (["203.0.113.9", "198.51.100.1, 10.0.0.1"], 2, "198.51.100.1"),
        (["198.51.100.1:4711"], 1, "198.51.100.1"),
        (["[2001:db8:1:2:3::7]:4711"], 1, "2001:db8:1:2::/64"),
        (["2001:db8:1:2:3::7"], 1, "2001:db8:1:2::/64"),
    ],
)
def test_behind_proxies_the_client_is_whom_the_first_trusted_one_was_asked_by(
    forwarded: list[str], trusted_proxies: int, network: str
) -> None:
    assert client_network("10.0.0.2", forwarded, trusted_proxies) == network


@pytest.mark.parametrize("forwarded", [[], ["unknown"], ["198.51.100.1, "], ["_hidden"], [""]])
def test_where_the_proxies_say_nothing_useful_the_client_is_whoever_is_connected(
    forwarded: list[str],
) -> None:
    assert client_network("10.0.0.2", forwarded, 1) == "10.0.0.2"


def test_a_request_that_passed_fewer_proxies_than_there_are_is_whoever_is_connected() -> None:
    assert client_network("192.0.2.7", ["198.51.100.1"], 2) == "192.0.2.7"
