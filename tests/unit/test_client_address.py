"""Which client a request belongs to."""

import pytest

from zimage_cache.addresses import client_of


@pytest.mark.parametrize(
    ("host", "lane"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_one_queue_lane_per_address(host, lane):
    """A machine has one IPv4 address, but 2^64 of IPv6: these count as one client."""
    assert client_of(host) == lane
