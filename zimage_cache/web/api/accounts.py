"""Who sent a request: its account, its lane in the queue, and what administrators alone may do; `/me`."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.params import Depends as DependsOn
from pydantic import BaseModel

from zimage_cache.accounts.limits import Rate
from zimage_cache.accounts.users import Account
from zimage_cache.addresses import client_of
from zimage_cache.service.service import Sender
from zimage_cache.web.api.routes import add_routes
from zimage_cache.web.errors import Refused


class Priority(StrEnum):
    """The level in the queue that a request asks for. The default is the highest: the header gives no advantage."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


XPriority = Annotated[Priority, Header(description="`batch` is drawn after the pictures that people wait for.")]


def account_of(request: Request) -> Account:
    """Return the account that sent the request."""
    account: Account = request.scope["account"]
    return account


def lane_of(request: Request) -> str:
    """Return whose turn in the queue a request waits for: its account's; where there is none, its client's."""
    account: Account | None = request.scope.get("account")
    if account is not None and account.name:
        return account.name
    return client_of(request.client.host if request.client else "")


def sender_of(request: Request, priority: Priority) -> Sender:
    """Return what the service is told of the sender."""
    batch = priority is Priority.BATCH
    return {"user": lane_of(request), "account": account_of(request).name, "batch": batch}


def require_rate(rate: Rate | None, request: Request) -> None:
    """Count a request for pictures of its user, or address.

    Raises:
        Refused: `rate_limited`: there were too many.
    """
    if rate is not None and (seconds := rate.wait(lane_of(request))):
        raise Refused("rate_limited", "too_many_requests", seconds=seconds, headers={"Retry-After": str(seconds)})


def within(rate: Rate | None) -> list[DependsOn]:
    """Return the dependencies of a route that each user, or address, may call at this *rate* only."""
    if rate is None:
        return []

    async def require_patience(request: Request) -> None:
        require_rate(rate, request)

    return [Depends(require_patience)]


class Me(BaseModel):
    """The account of a request; the name is empty where the server has no users."""

    name: str
    administrator: bool


def add_accounts_api(app: FastAPI) -> None:
    """Add the route to *app*, and a 405 for every other method on it; mount the page afterwards."""
    router = APIRouter()

    @router.get("/me")
    async def me(request: Request) -> Me:
        """Return the account that the request is sent by."""
        account = account_of(request)
        return Me(name=account.name, administrator=account.administrator)

    add_routes(app, router)


async def require_administrator(request: Request) -> None:
    """Refuse a request of an ordinary account; a dependency of routes.

    Raises:
        Refused: `forbidden`.
    """
    if not account_of(request).administrator:
        raise Refused("forbidden", "administrators_only")
