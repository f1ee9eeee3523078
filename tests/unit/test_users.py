"""The file of users: what its lines mean, what changes it, and that it holds no password or key."""

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from argon2 import PasswordHasher

from tests.factories import present
from zimage_cache.accounts import users as module
from zimage_cache.accounts.lines import checked_name
from zimage_cache.accounts.users import Account, UserFile, Users, hashed, key_digest, new_key, users_of


@pytest.fixture
def file(tmp_path: Path) -> UserFile:
    return UserFile(tmp_path / "users.txt")


def test_a_password(file):
    """The right one of the right user; the file has neither it nor anything that it can be read from."""
    file.put("ann", "secret: ü", administrator=True)
    file.put("ben", "of ben", administrator=False)
    users = file.read()
    assert users.with_password("ann", "secret: ü") == Account("ann", administrator=True)
    assert users.with_password("ben", "of ben") == Account("ben")
    for name, password in (
        ("ann", "of ben"),
        ("eve", "secret: ü"),
        ("ann", ""),
        ("", "secret: ü"),
        ("Ann", "secret: ü"),
    ):
        assert users.with_password(name, password) is None
    assert "secret" not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_letters_of_any_keyboard(file):
    """The same letters, composed or not, are the same name and password."""
    file.put(checked_name("Zo\u00eb"), "caf\u00e9 noir", administrator=False)
    assert file.read().with_password("Zoe\u0308", "cafe\u0301 noir") is not None


def test_hashes_are_expensive():
    """Those of RFC 9106 for machines with little memory: 64 MiB, three passes."""
    code = "from zimage_cache.accounts.users import hashed; print(hashed('x'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_unknown_names_take_as_long_as_known_ones(monkeypatch):
    """Both verify one hash, with the same parameters."""
    seen: list[str] = []
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

    def verify(hash_: str, given: str) -> bool:
        seen.append(hash_[:30])
        return quick.verify(hash_, given)

    counted = SimpleNamespace(verify=verify)
    users = users_of([f"ann:{hashed('secret')}"])
    monkeypatch.setattr(module, "_HASHER", counted)
    assert users.with_password("ann", "wrong") is None
    assert users.with_password("eve", "wrong") is None
    assert users.with_password("eve", "secret") is None
    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_names_with_keys_alone_and_no_password():
    """They have a hash to verify too, and no password is theirs."""
    users = users_of([f"bot:sha256${key_digest('k' * 20)}"])
    assert users.with_password("bot", "") is None
    assert users.with_password("bot", "k" * 20) is None
    assert users.with_key("k" * 20) == Account("bot")
    assert users.with_key("") is None
    assert users.with_plain("k" * 20) is None


def test_api_keys(file):
    """A key acts for its name; the file has its digest, and it can be taken away alone."""
    file.put("ann", "secret of ann", administrator=True)
    keys = [file.add_key("ann"), file.add_key("bot")]
    users = file.read()
    assert [users.with_key(key) for key in keys] == [Account("ann", administrator=True), Account("bot")]
    assert not any(key in file.path.read_text() for key in keys)
    assert (users.keys_of("ann"), users.has_password("ann"), users.has_password("bot")) == (1, True, False)
    assert file.remove("ann", only_keys=True) == 1
    assert file.read().with_key(keys[0]) is None
    assert file.read().with_password("ann", "secret of ann") is not None
    assert len(set(keys) | {new_key()}) == 3
    assert min(map(len, keys)) > 32


def test_roles_are_written_down(file):
    """The first user's too: what is added, changed or removed later changes the role of nothing else."""

    def roles() -> dict[str, bool]:
        return {account.name: account.administrator for account in file.read()}

    file.add_key("bot")
    file.put("ann", "secret of ann")
    file.put("ben", "secret of ben")
    assert roles() == {"bot": False, "ann": True, "ben": False}
    file.put("eve", "secret of eve", administrator=True)
    file.put("ann", "another secret")
    file.put("ben", "another secret")
    assert roles() == {"bot": False, "ann": True, "ben": False, "eve": True}
    file.remove("ann")
    file.put("eve", "another secret", administrator=False)
    assert roles() == {"bot": False, "ben": False, "eve": False}


def test_owners():
    """Administrators see what belongs to no account; without accounts everything is seen."""
    assert Account("ann", administrator=True).owners == {"", "ann"}
    assert Account("ben").owners == {"ben"}
    assert module.ANYONE.owners is None


def test_the_form_of_the_first_versions():
    """`user:password` in plain text: an administrator's, for browsers and for programs that send the password alone."""
    users = users_of(["# a comment", "", " ann:pass:word ", "ben：全角", f"eve:{hashed('x')}"])
    ann, ben, eve = users
    assert users.with_password("ann", "pass:word") == users.with_plain("pass:word") == ann
    assert users.with_plain("全角") == ben == Account("ben", administrator=True)
    assert users.with_key("pass:word") is None
    assert not eve.administrator
    assert users_of(["ann:secret:administrator"]).with_password("ann", "secret:administrator") is not None


def test_a_start_changes_no_mark():
    """Neither of a hash nor of a password in plain text: sessions survive a restart and changes of other lines."""
    lines = ["ann:pass", f"ben:{hashed('x')}"]
    first, again = users_of(lines), users_of(["# new", *lines, f"eve:{hashed('y')}"])
    for name in ("ann", "ben"):
        assert present(first.get(name)).mark == present(again.get(name)).mark != ""
    assert present(users_of(["ann:other"]).get("ann")).mark != present(first.get("ann")).mark


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("hunter2", "should be name:secret"),
        ("ann:", "should be name:secret"),
        (":hunter2", "a user's name should have"),
        ("a\x00b:hunter2", "a user's name should have"),
        ("n" * 65 + ":hunter2", "a user's name should have"),
        ("ann:hunter2", "ann has a password already"),
        ("ben:$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA:admin", "a password may not begin like a hash"),
        ("ben:$2y$10$hunter2", "a password may not begin like a hash"),
        ("ben:sha256$hunter2", "a password may not begin like a hash"),
        ("ben:SHA256$" + "0" * 64, "a password may not begin like a hash"),
        ("ben:" + "hunter2" * 200, "at most 1024 characters"),
    ],
)
def test_an_invalid_line(line, rule):
    """Its number and the rule, and nothing of a line that may be a password."""
    with pytest.raises(ValueError, match=f"^line 2: .*{rule}") as raised:
        users_of([f"ann:{hashed('x')}", line])
    assert "hunter2" not in str(raised.value)


def test_changes_keep_the_rest_of_the_file(file):
    """Comments, order, permissions and other users stay; a symbolic link stays one."""
    real = file.path.with_name("real.txt")
    real.write_text(f"# who works here\nann:{hashed('a')}:administrator\n\nben:{hashed('b')}\n")
    real.chmod(0o640)
    file.path.symlink_to(real)
    file.put("ann", "new secret")
    lines = real.read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["# who works here", "ann", "", "ben"]
    assert file.read().with_password("ann", "new secret") is not None
    assert file.path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert file.remove("ben") == 1
    assert file.remove("ben") == 0


def test_a_file_with_an_invalid_line_is_not_changed(file):
    """What would be lost is said instead."""
    file.path.write_text("no colon\n")
    with pytest.raises(ValueError, match="line 1"):
        file.add_key("ann")
    assert file.path.read_text() == "no colon\n"


def test_changes_wait_for_one_another(file):
    """None is lost, whichever processes make them."""
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda i: UserFile(file.path).add_key(f"bot {i}"), range(24)))
    users = file.read()
    assert [present(users.with_key(key)).name for key in keys] == [f"bot {i}" for i in range(24)]


def test_a_line_with_a_full_width_colon_can_be_changed(file):
    """It is one user for every command."""
    file.path.write_text("ben：secret\n")
    file.put("ben", "new secret")
    assert file.read().with_password("ben", "new secret") is not None
    assert len(file.path.read_text().splitlines()) == 1
    assert file.remove("ben") == 1


def test_texts_of_any_length_take_little_time():
    """Normal forms take time that grows with the square of the length: longer texts are no passwords or names."""
    users = users_of(["ann:secret"])
    marks = "\u0301" * 100_000 + "\u0316" * 100_000
    assert users.with_password("ann", marks) is None
    assert users.with_password(marks, "secret") is None
    assert users.with_key(marks) is users.with_plain(marks) is None
    with pytest.raises(ValueError, match="1 to 64 characters"):
        checked_name(marks)


def test_nothing_but_names():
    """Without users there is none."""
    assert (len(Users()), list(Users()), Users().get("ann")) == (0, [], None)
    assert Users().with_password("ann", "x") is None


@pytest.mark.parametrize("name", ["", " ", "a:b", "#a", "a\nb", "a" * 65])
def test_names_that_cannot_be(name):
    with pytest.raises(ValueError, match="1 to 64 characters"):
        checked_name(name)


@pytest.mark.parametrize(("name", "kept"), [("a", "a"), (" ann ", "ann"), ("李 雷", "李 雷"), ("a" * 64, "a" * 64)])
def test_names_that_can(name, kept):
    assert checked_name(name) == kept
