"""Who sent a request: its account, its lane in the queue, and what administrators alone may do."""

import ipaddress

from fastapi import Depends, Request
from fastapi.params import Depends as DependsOn

from zimage_cache.accounts.limits import Rate
from zimage_cache.accounts.users import Account
from zimage_cache.addresses import ip_address
from zimage_cache.service.service import Sender
from zimage_cache.web.errors import Refused


def account_of(request: Request) -> Account:
    """Return the account that sent the request."""
    account: Account = request.scope["account"]
    return account


def lane_of(request: Request) -> str:
    """Return whose turn in the queue a request waits for: its account's; without users or with one, its address's."""
    account: Account | None = request.scope.get("account")
    return (account.owner if account else "") or client_of(request)


def client_of(request: Request) -> str:
    """Return the client's IPv4 address, or its IPv6 /64 network, which one machine may own."""
    host = request.client.host if request.client else ""
    address = ip_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address) if address else host


def sender_of(request: Request) -> Sender:
    """Return what the service is told of the sender."""
    account = account_of(request)
    return {"user": lane_of(request), "account": account.name, "owner": account.owner}


def within(rate: Rate | None) -> list[DependsOn]:
    """Return the dependencies of a route that each user, or address, may call at this *rate* only."""
    if rate is None:
        return []

    async def require_patience(request: Request) -> None:
        if seconds := rate.wait(lane_of(request)):
            raise Refused("rate_limited", "too_many_requests", seconds=seconds, headers={"Retry-After": str(seconds)})

    return [Depends(require_patience)]


async def require_administrator(request: Request) -> None:
    """Refuse a request of an ordinary account; a dependency of routes.

    Raises:
        Refused: `forbidden`.
    """
    if not account_of(request).administrator:
        raise Refused("forbidden", "administrators_only")
