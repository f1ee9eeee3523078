"""A client of this program's HTTP API, for the command line."""

import os
import time
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

import httpx

from zimage_cache.environment import hidden, of_connections
from zimage_cache.errors import ServerError

_CONNECT_SECONDS: Final = 2.0
_OVERVIEW_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 1.0


class Client:
    """A client of one server, used as a context manager. Every call blocks; for one thread.

    Args:
        url: Such as http://127.0.0.1:7860; also the attribute `url`, without a slash at its end.
        credentials: User and password, where the server requires them.
        key: An API key, sent where there are no credentials.
        seconds: Longest wait for one answer; None = no limit.
        transport: For tests: replaces the network.

    Raises:
        ServerError: *url* is not the address of a server.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: tuple[str, str] | None = None,
        key: str | None = None,
        seconds: float | None = 600.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        limit = httpx.Timeout(seconds, connect=_CONNECT_SECONDS)
        self.url = url.rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise ServerError(f"{url}: should be the address of a server, such as http://127.0.0.1:7860")
        try:
            # Proxies of the environment are ignored: the server is this machine or one in its network. Some variables
            # are read in spite of `trust_env`.
            with hidden(of_connections(os.environ)):
                self._http = httpx.Client(
                    base_url=url,
                    auth=credentials,
                    headers={"Authorization": f"Bearer {key}"} if key else None,
                    timeout=limit,
                    transport=transport,
                    trust_env=False,
                )
        except httpx.InvalidURL as error:
            raise ServerError(f"{url}: is no address: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> dict[str, Any] | None:
        """Return the answer of `/health`; None without an answer, or when another program answers."""
        try:
            body = _document(self._http.get("/health", timeout=_CONNECT_SECONDS))
        except httpx.HTTPError:
            return None
        return body if "status" in body else None

    def wait_until_ready(self, seconds: float, *, waited: float = 0.0) -> None:
        """Wait for `/ready`, also for a server that has not started yet; so many of the *seconds* are over.

        Raises:
            ServerError: The server was not ready after *seconds*, or cannot become ready; the message has its state.
        """
        deadline = time.monotonic() + seconds - waited
        while True:
            ready, state, hopeless = self._readiness()
            if ready:
                return
            if hopeless or time.monotonic() >= deadline:
                after = "" if hopeless else f" after {seconds:g} s"
                raise ServerError(f"{self.url} is not ready{after}: {state}")
            time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))

    def generate(self, body: Mapping[str, Any], *, batch: bool = False) -> dict[str, Any]:
        """Request pictures and return the answer; with *batch*, those that people wait for are drawn first.

        Raises:
            ServerError: No server answers, or it refuses; then the message is its own.
        """
        headers = {"X-Priority": "batch"} if batch else None
        answer = _document(self._fetch("POST", "/generate", json=dict(body), headers=headers))
        if "images" not in answer:
            raise ServerError(f"{self.url} is a server, but not one of this program; name another with --url")
        return answer

    def picture(self, image_url: str) -> bytes:
        """Fetch a picture by the URL an answer gave.

        Raises:
            ServerError: It cannot be fetched.
        """
        # A server below a path names it in its URLs, and the base URL of this client has it too, maybe not encoded.
        path, mark, query = image_url.partition("?")
        below = unquote(path).removeprefix(f"{unquote(urlsplit(self.url).path)}/")
        return self._fetch("GET", f"/{below.removeprefix('/')}{mark}{query}").content

    def order(self, model: str, what: str) -> dict[str, Any]:
        """Make the server "load" or "unload" *model*; returns the model's state after that.

        Raises:
            ServerError: No server answers, or it refuses; then the message is its own.
        """
        return _document(self._fetch("POST", f"/models/{quote(model, safe='')}/{what}"))

    def models(self) -> list[dict[str, Any]]:
        """Return each model's entry of `/models`.

        Raises:
            ServerError: No server answers, or another program does.
        """
        try:
            return list(_document(self._fetch("GET", "/models"))["models"])
        except KeyError:
            raise ServerError(f"{self.url} is a server, but not one of this program; name another with --url") from None

    def overview(self) -> dict[str, Any]:
        """Return the answer of `/cache/stats`.

        Raises:
            ServerError: No server answers soon, it refuses, or another program answers.
        """
        body = _document(self._fetch("GET", "/cache/stats", timeout=_OVERVIEW_SECONDS))
        if "this_process" not in body:
            raise ServerError(f"{self.url} is a server, but not one of this program; name another with --url")
        return body

    def _fetch(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ServerError(f"{self.url}: {_reason(error)}") from None
        if not answer.is_success:
            words = _words(answer) or f"{self.url}{path} answers HTTP {answer.status_code}"
            sign_in = answer.status_code == httpx.codes.UNAUTHORIZED
            raise ServerError(f"{words}; sign in with --auth user:password or --api-key NAME:KEY" if sign_in else words)
        return answer

    def _readiness(self) -> tuple[bool, str, bool]:
        """Request `/ready` once; returns whether it is ready, its state in words, and whether waiting is useless."""
        try:
            answer = self._http.get("/ready", timeout=_CONNECT_SECONDS)
        except httpx.HTTPError as error:
            return False, _reason(error), False
        body = _document(answer)
        known = [str(body[name]) for name in ("status", "phase", "detail") if body.get(name)]
        words = _words(answer) or ", ".join(known) or f"HTTP {answer.status_code}"
        return answer.is_success, words, body.get("status") == "error"


def _document(answer: httpx.Response) -> dict[str, Any]:
    """Return an answer's JSON object; an empty one for any other answer."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _words(answer: httpx.Response) -> str:
    """Return the message of an error answer; an empty text for answers of other programs."""
    error = _document(answer).get("error")
    return str(error["message"]) if isinstance(error, dict) and "message" in error else ""


def _reason(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
