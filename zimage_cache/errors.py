"""Every error this program raises on purpose.

    ZImageError
    ├── InvalidRequest          a field breaks a rule
    ├── SettingsError           a setting is unusable; exit 2
    ├── NotCached               `cache: only`, and a picture is not stored
    ├── ServerError             a server did not answer, or refused (command line)
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
    └── CacheError              internal: logged, counted, treated as a miss
        ├── CorruptEntry
        └── CacheWriteFailed

A miss is `None`, not an error. Exceptions of libraries are translated once, where the library is called.
Messages state the rule, the value received, and the remedy.
"""

from typing import ClassVar


class ZImageError(Exception):
    """Base of the tree.

    `code` is the machine-readable name of the error on every surface (HTTP, command line, page).
    """

    code: ClassVar[str] = "internal_error"


class InvalidRequest(ZImageError, ValueError):
    """A request breaks a rule of the contract; `field` names the field at fault where it is a single one."""

    code = "invalid_request"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class SettingsError(ZImageError):
    """A setting, or the file or device it names, is unusable; printed in one line, exit status 2."""

    code = "invalid_settings"


class NotCached(ZImageError):
    """The request excludes generation, and at least one of its pictures is not stored."""

    code = "not_cached"


class ServerError(ZImageError):
    """No server answered, or it refused; the message is the server's own where it sent one."""

    code = "server_error"


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

    code = "generation_failed"


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


class CacheError(ZImageError):
    """Base of the internal errors of the result cache."""

    code = "cache_error"


class CorruptEntry(CacheError):
    """An entry on disk differs from its record."""

    code = "corrupt_entry"


class CacheWriteFailed(CacheError):
    """An entry could not be written; the picture itself is not affected."""

    code = "cache_write_failed"
