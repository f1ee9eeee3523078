"""The file of users: what its lines mean, what changes it, and that it holds no password or key."""

import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from argon2 import PasswordHasher

from zimage_cache.accounts import users as module
from zimage_cache.accounts.users import Account, UserFile, Users, checked_name, hashed, key_digest, new_key, users_of


@pytest.fixture
def file(tmp_path: Path) -> UserFile:
    return UserFile(tmp_path / "users.txt")


def test_a_password(file):
    """The right one of the right user; the file has neither it nor anything that it can be read from."""
    file.put("ann", "secret: ü", administrator=True)
    file.put("ben", "of ben", administrator=False)
    users = file.read()
    assert users.with_password("ann", "secret: ü") == Account("ann", administrator=True, owner="ann")
    assert users.with_password("ben", "of ben") == Account("ben", administrator=False, owner="ben")
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
    assert users.with_key("k" * 20) == Account("bot", administrator=True, owner="")
    assert users.with_key("") is None
    assert users.with_plain("k" * 20) is None


def test_api_keys(file):
    """A key acts for its name; the file has its digest, and it can be taken away alone."""
    file.put("ann", "secret of ann", administrator=True)
    keys = [file.add_key("ann"), file.add_key("bot")]
    users = file.read()
    assert [users.with_key(key) for key in keys] == [Account("ann", True, "ann"), Account("bot", False, "bot")]
    assert not any(key in file.path.read_text() for key in keys)
    assert (users.keys_of("ann"), users.has_password("ann"), users.has_password("bot")) == (1, True, False)
    assert file.remove("ann", only_keys=True) == 1
    assert file.read().with_key(keys[0]) is None
    assert file.read().with_password("ann", "secret of ann") is not None
    assert len(set(keys) | {new_key()}) == 3
    assert min(map(len, keys)) > 32


def test_the_first_account_is_an_administrator_where_none_is_named():
    """Otherwise a server would have no one who may change it."""
    lines = [f"ann:{hashed('a')}", f"ben:{hashed('b')}"]
    assert [account.administrator for account in users_of(lines)] == [True, False]
    assert [account.administrator for account in users_of([lines[0], f"{lines[1]}:administrator"])] == [False, True]


def test_owners():
    """One account sees what a server without users drew, and the other way round; of several, administrators do."""
    (only,) = users_of(["ann:secret"])
    assert (only.owner, only.owners) == ("", {"", "ann"})
    ann, ben = users_of(["ann:secret", "ben:other"])
    assert (ann.owner, ann.owners) == ("ann", {"", "ann"})
    assert (ben.owner, ben.owners) == ("ben", {"ben"})
    assert module.ANYONE.owners == {""}


def test_the_form_of_the_first_versions():
    """`user:password` in plain text: for browsers, and for programs that send the password alone."""
    users = users_of(["# a comment", "", " ann:pass:word ", "ben：全角"])
    assert users.with_password("ann", "pass:word") == users.with_plain("pass:word") == Account("ann", True, "ann")
    assert users.with_plain("全角") == Account("ben", False, "ben")
    assert users.with_key("pass:word") is None


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("hunter2", "should be name:secret"),
        ("ann:", "should be name:secret"),
        (":hunter2", "a user's name should have"),
        ("a\x00b:hunter2", "a user's name should have"),
        ("n" * 65 + ":hunter2", "a user's name should have"),
        ("ann:hunter2", "ann has a password already"),
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
    file.put("ann", "new secret", administrator=False)
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


def test_a_new_password_ends_sessions():
    """The mark changes with the password, and is that of nothing else."""
    before, same = users_of([line := f"ann:{hashed('a')}"]), users_of([line])
    after = users_of([f"ann:{hashed('a')}"])
    assert before.mark("ann") == same.mark("ann") != after.mark("ann")
    assert "argon2" not in before.mark("ann")


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
