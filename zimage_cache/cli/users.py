"""`zimage user …`: the file of users, with or without a running server, which reads it again within a second."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from zimage_cache.accounts.lines import checked_name
from zimage_cache.accounts.users import UserFile
from zimage_cache.cli.output import as_json_option, print_json, print_table
from zimage_cache.errors import CommandError, UsageError
from zimage_cache.settings import Settings

_SHORTEST: Final = 8
_name = click.argument("name", metavar="NAME", help="1 to 64 characters without a colon.")


@_name
@click.option(
    "--administrator/--no-administrator",
    default=None,
    help="May change the cache, load models, and see pictures that belong to no user; default: the role that the user "
    "has, and for the first one yes.",
)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it.")
@as_json_option
def add(settings: Settings, name: str, *, administrator: bool | None, password_stdin: bool, as_json: bool) -> None:
    """Add a user, or give one a new password; a running server knows within a second."""
    with _file(settings) as (file, path):
        name = checked_name(name)
        file.put(name, _password(from_stdin=password_stdin), administrator=administrator)
        account = file.read().get(name)
    role = "administrator" if account and account.administrator else "user"
    if as_json:
        print_json({"name": name, "administrator": role == "administrator", "file": str(path)})
    else:
        click.echo(f"{name} ({role}) is in {path}")


@_name
@as_json_option
def key(settings: Settings, name: str, *, as_json: bool) -> None:
    """Make an API key for programs, and print it: once, because the file keeps only its digest."""
    with _file(settings) as (file, path):
        made = file.add_key(checked_name(name))
    if as_json:
        print_json({"name": name, "key": made, "file": str(path)})
    else:
        click.echo(made)


@_name
@click.option("--keys", "only_keys", is_flag=True, help="Only the API keys; the password stays.")
@as_json_option
def remove(settings: Settings, name: str, *, only_keys: bool, as_json: bool) -> None:
    """Remove a user with all API keys; their sessions end, their pictures stay."""
    with _file(settings) as (file, path):
        removed = file.remove(checked_name(name), only_keys=only_keys)
    if not removed:
        raise CommandError(f"{path} has no {'API key' if only_keys else 'user'} of {name}")
    if as_json:
        print_json({"name": name, "removed": removed, "file": str(path)})
    else:
        click.echo(f"removed {name}: {removed} line{'s' if removed > 1 else ''} of {path}")


@as_json_option
def list_(settings: Settings, *, as_json: bool) -> None:
    """List the users: names, roles, and numbers of API keys."""
    with _file(settings) as (file, _):
        users = file.read()
    rows = [
        {
            "name": account.name,
            "administrator": account.administrator,
            "password": users.has_password(account.name),
            "keys": users.keys_of(account.name),
        }
        for account in users
    ]
    if as_json:
        print_json({"users": rows})
        return
    heads = ("name", "role", "password", "API keys")
    print_table([heads, *map(_row, rows)], right=[3])


def _row(user: Mapping[str, Any]) -> tuple[str, ...]:
    role = "administrator" if user["administrator"] else "user"
    return user["name"], role, "yes" if user["password"] else "no", str(user["keys"])


@contextmanager
def _file(settings: Settings) -> Iterator[tuple[UserFile, Path]]:
    """Give the file of users: that of `--auth-file`, else `users.txt` in the workspace."""
    path = settings.auth_file or settings.below("users.txt")
    try:
        yield UserFile(path), path
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt="The same again")
    if len(password) < _SHORTEST:
        raise UsageError(f"a password should have at least {_SHORTEST} characters")
    return str(password)


COMMANDS: Final[Mapping[str, Callable[..., None]]] = MappingProxyType(
    {"add": add, "key": key, "list": list_, "remove": remove}
)
