"""What the routes of pictures read off a request."""

import pytest
from fastapi import Request

from zimage_cache.web.api.generate import asker


@pytest.mark.parametrize(
    ("host", "lane"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_one_lane_an_address(host, lane):
    """A machine has one IPv4 address, but 2^64 of IPv6: those are one asker."""
    assert asker(Request({"type": "http", "client": (host, 1)})) == lane
