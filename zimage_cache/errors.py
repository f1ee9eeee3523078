"""The errors that several packages share; a few more are private to one package.

    ZImageError
    ├── InvalidRequest          a field breaks a rule
    ├── NotCached               `cache: only`, and a picture is not stored
    ├── GeneratorError
    │   ├── ModelMissing        not on disk
    │   ├── ModelCorrupt        on disk, but incomplete or damaged
    │   ├── GeneratorLoading    still loading; a later request may succeed
    │   ├── OutOfMemory
    │   ├── GenerationFailed
    │   │   └── DeviceFailed    the device failed, for every picture
    │   ├── Cancelled           all clients of the run have gone
    │   ├── QueueFull           a later request may succeed
    │   └── TimedOut            the time limit of this request, not of the run
    ├── HistoryUnavailable      the index of output_image/, or a file in it, cannot be used; no picture is lost
    ├── CacheUnavailable        a stored entry cannot be changed now; it is unchanged
    └── LocalError              shown by a terminal or a log only, in plain English
        ├── SettingsError       a setting is unusable; exit 2
        ├── CommandError        a command cannot do what it was told; exit 1
        │   └── UsageError      its arguments are wrong; exit 2
        ├── ServerError         a server did not answer, or refused (command line)
        └── CacheError          internal: logged, counted, treated as a miss
            ├── CorruptEntry
            └── CacheWriteFailed

A miss is `None`, not an error. Exceptions of libraries are translated once, where the library is called.
Messages state the rule, the value received, and the remedy.
"""

from typing import Any, Self

from zimage_cache.i18n.messages import Message


class ZImageError(Exception):
    """Base of the tree: the name of a template of `i18n`, and values for its holes.

    `code` is the machine-readable name of the error on every surface (HTTP, command line, page). `reason` is the text
    for people, in any language; the text of the exception itself is English.
    """

    code = "internal_error"
    field: str | None = None

    def __init__(self, rule: str, /, **params: object) -> None:
        super().__init__(rule)
        self.reason = Message(rule, **params)

    def __str__(self) -> str:
        return str(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without calling `__init__`, whose arguments `args` does not hold.
        return type(self).__new__, (type(self), *self.args), vars(self)

    @classmethod
    def of(cls, message: Message, **more: Any) -> Self:  # noqa: ANN401 - whatever `__init__` takes
        """Return the error whose reason is *message*."""
        return cls(message.rule, **message.params, **more)

    @property
    def message(self) -> Message:
        """The whole text for people: the reason, after the name of the field where a field is at fault."""
        return self.reason


class InvalidRequest(ZImageError, ValueError):
    """A request breaks a rule of the contract.

    Args:
        rule: Names the template of the reason.
        field: The field at fault, where it is a single one.
        place: What the message names in place of the field, such as "body".
        params: Values for the template; `got` is the value received.
    """

    code = "invalid_request"

    def __init__(self, rule: str, /, *, field: str | None = None, place: str | None = None, **params: object) -> None:
        super().__init__(rule, **params)
        self.field = field
        self._place = place or field

    @property
    def message(self) -> Message:
        if self._place is None:
            return self.reason
        return Message("of_field", field=self._place, reason=self.reason)


class LocalError(ZImageError):
    """An error that only a terminal or a log shows: its text is plain English, because no answer carries it."""

    def __init__(self, text: str) -> None:
        super().__init__("as_said", text=text)


class SettingsError(LocalError):
    """A setting, or the file or device it names, is unusable; printed in one line, exit status 2."""

    code = "invalid_settings"


class CommandError(LocalError):
    """A command cannot do what it was told; printed in one line, exit status 1."""

    code = "command_failed"


class UsageError(CommandError):
    """An argument of a command is unusable; printed in one line, exit status 2."""

    code = "invalid_arguments"


class ServerError(LocalError):
    """No server answered, or it refused; the message is the server's own where it sent one."""

    code = "server_error"


class NotCached(ZImageError):
    """The request excludes generation, and at least one of its pictures is not stored."""

    code = "not_cached"


class HistoryUnavailable(ZImageError):
    """The index of `output_image/` cannot be used now, or a file in it cannot be moved or deleted."""

    code = "history_unavailable"


class CacheUnavailable(ZImageError):
    """An entry cannot be deleted, pinned or unpinned because of a disk error. It is stored as before."""

    code = "cache_unavailable"


class GeneratorError(ZImageError):
    """Base of the errors of loading a model and drawing."""

    code = "generation_failed"


class ModelMissing(GeneratorError):
    """The model is not on this disk; the message names how to download it."""

    code = "model_missing"


class ModelCorrupt(GeneratorError):
    """The model's folder is incomplete or damaged; the message names the file."""

    code = "model_corrupt"


class GeneratorLoading(GeneratorError):
    """The weights are still loading: a later request may succeed."""

    code = "loading"


class OutOfMemory(GeneratorError):
    """The device has too little memory for this request."""

    code = "out_of_memory"


class GenerationFailed(GeneratorError):
    """The pipeline raised an exception, or its result is no picture."""


class DeviceFailed(GenerationFailed):
    """The device failed, not the picture: nothing can be drawn on it before the model is loaded again."""


class Cancelled(GeneratorError):
    """The run was stopped because no client waited for it any more."""

    code = "cancelled"


class QueueFull(GeneratorError):
    """The queue has no room for all runs of this request: a later request may succeed."""

    code = "queue_full"


class TimedOut(GeneratorError):
    """The time limit of this request has passed; the run goes on for other requests."""

    code = "timed_out"


class CacheError(LocalError):
    """Base of the internal errors of the result cache."""

    code = "cache_error"


class CorruptEntry(CacheError):
    """An entry on disk differs from its record."""

    code = "corrupt_entry"


class CacheWriteFailed(CacheError):
    """An entry could not be written; the picture itself is not affected."""

    code = "cache_write_failed"
