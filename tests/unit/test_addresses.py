"""Names, networks and paths as people write them in settings."""

import pytest

from zimage_cache.addresses import host_name, network, root_path


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("img.example.com", "img.example.com"),
        ("IMG.Example.com.", "img.example.com"),
        ("img.example.com:8443", "img.example.com"),
        ("https://img.example.com", "img.example.com"),
        ("https://img.example.com:8443/", "img.example.com"),
        ("*.example.com", "*.example.com"),
        ("*.example.com:443", "*.example.com"),
        ("*", "*"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("http://*.BÜCHER.example/", "*.xn--bcher-kva.example"),
        ("图片。例子", "xn--wcsw84d.xn--fsqu00a"),
        ("faß.example", "xn--fa-hia.example"),
        ("my_box", "my_box"),
        ("10.0.0.5:7860", "10.0.0.5"),
        ("[fe80::1]:7860", "fe80::1"),
        ("fe80::1", "fe80::1"),
        ("http://[::1]/", "::1"),
    ],
)
def test_host_names(written, meant):
    """Scheme, port, case and the dot at the end do not matter; international names are as browsers send them."""
    assert host_name(written) == meant


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("https://img.example.com/zimage", "--root-path"),
        ("ann:secret@img.example.com", "a name such as"),
        ("img.*.com", "a name such as"),
        ("*example.com", "a name such as"),
        ("a b", "a name such as"),
        ("", "a name such as"),
        ("-a.example", "a name such as"),
        (f"{'a' * 64}.example", "a name such as"),
        ("[fe80::1", "a name such as"),
        ("img.example.com:port", "a name such as"),
    ],
)
def test_what_is_no_host_name(written, reason):
    """A setting that would match nothing is refused."""
    with pytest.raises(ValueError, match=reason):
        host_name(written)


def test_networks():
    """An address is a network of one; bits of the host do not matter."""
    assert [network(each) for each in ("127.0.0.1", " 10.1.2.3/8", "::1", "fd00::1/8")] == [
        "127.0.0.1/32",
        "10.0.0.0/8",
        "::1/128",
        "fd00::/8",
    ]
    assert [
        network(each) for each in ("[::1]", "[fd00::]/8", "fe80::1%eth0", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104")
    ] == [
        "::1/128",
        "fd00::/8",
        "fe80::1/128",
        "10.0.0.1/32",
        "10.0.0.0/8",
    ]
    assert network("::/0") == "::/0"
    for wrong in ("nginx", "", "*", "127.0.0.1:80", "10.0.0.0/33"):
        with pytest.raises(ValueError, match=r"10\.0\.0\.0/8"):
            network(wrong)


def test_root_paths():
    """One slash at the start, none at the end; the root is no path."""
    written = ["/zimage", "zimage/", " /a/b/ ", "/", "", "/user/ann%40x/proxy/7860"]
    assert [root_path(each) for each in written] == ["/zimage", "/zimage", "/a/b", "", "", "/user/ann@x/proxy/7860"]
    for wrong in ("https://img.example.com/zimage", "/a/../b", "/a?b", "/a b", "/a#b", "/a//b", "/./a", "/a\\b"):
        with pytest.raises(ValueError, match="/zimage"):
            root_path(wrong)
