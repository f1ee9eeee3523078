"""Every error this program raises on purpose.

    ZImageError
    ├── InvalidRequest          the asker can mend it
    ├── SettingsError           the operator can mend it; exit 2
    ├── NotCached               `cache: only` found nothing
    ├── ServerError             what a client got instead of an answer
    ├── GeneratorError
    │   ├── ModelMissing        not on disk
    │   ├── ModelCorrupt        on disk, but not whole
    │   ├── GeneratorLoading    not yet; waiting helps
    │   ├── OutOfMemory
    │   ├── GenerationFailed
    │   │   └── DeviceFailed    the card is broken, whatever is drawn on it
    │   ├── Cancelled           nobody waits for it any more
    │   ├── QueueFull           waiting helps
    │   └── TimedOut            this asker's patience, not the run's
    ├── HistoryUnavailable      the index of output_image/ or a file in it; the pictures are safe
    ├── CacheUnavailable        what is stored cannot be changed just now; it is still there
    └── CacheError              never reaches a user: logged, counted, treated as a miss
        ├── CorruptEntry
        └── CacheWriteFailed

A miss is `None`, not an error. Foreign errors are translated once, at the edge that meets them.
Messages say the rule, the value got, and what to do.
"""

from typing import ClassVar


class ZImageError(Exception):
    """Base of the tree.

    `code` is the machine-readable name of the error on every surface (HTTP, command line, page).
    """

    code: ClassVar[str] = "internal_error"


class InvalidRequest(ZImageError, ValueError):
    """A request breaks a rule of the contract; `field` names the culprit where one field is to blame."""

    code = "invalid_request"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class SettingsError(ZImageError):
    """A setting, or what it points at, is unusable: told in one line, exit status 2."""

    code = "invalid_settings"


class NotCached(ZImageError):
    """The request asked never to generate, and at least one of its pictures is not stored."""

    code = "not_cached"


class ServerError(ZImageError):
    """A server is not there, or refused; the message is the server's own where it gave one."""

    code = "server_error"


class HistoryUnavailable(ZImageError):
    """The index of `output_image/` cannot be used just now, or a file in it cannot be moved or deleted."""

    code = "history_unavailable"


class CacheUnavailable(ZImageError):
    """An entry cannot be deleted, pinned or unpinned just now: the disk refuses. It is stored as before."""

    code = "cache_unavailable"


class GeneratorError(ZImageError):
    """Something between a recipe and its pixels went wrong."""

    code = "generation_failed"


class ModelMissing(GeneratorError):
    """The model is not on this disk; the message says how to get it."""

    code = "model_missing"


class ModelCorrupt(GeneratorError):
    """The model's folder is incomplete or damaged; the message names the file."""

    code = "model_corrupt"


class GeneratorLoading(GeneratorError):
    """The weights are still loading: ask again in a while."""

    code = "loading"


class OutOfMemory(GeneratorError):
    """The device has too little memory for this request."""

    code = "out_of_memory"


class GenerationFailed(GeneratorError):
    """The pipeline raised, or drew something that is no picture."""

    code = "generation_failed"


class DeviceFailed(GenerationFailed):
    """The card itself failed, not the picture: nothing can be drawn on it before the model is loaded again."""


class Cancelled(GeneratorError):
    """The run was stopped because nobody waited for it any more."""

    code = "cancelled"


class QueueFull(GeneratorError):
    """The queue has no room for all runs of this request: ask again in a while."""

    code = "queue_full"


class TimedOut(GeneratorError):
    """This asker waited as long as it is allowed to; others may go on waiting."""

    code = "timed_out"


class CacheError(ZImageError):
    """Trouble inside the result cache."""

    code = "cache_error"


class CorruptEntry(CacheError):
    """An entry on disk is not what its record promises."""

    code = "corrupt_entry"


class CacheWriteFailed(CacheError):
    """An entry could not be written; the picture itself is fine."""

    code = "cache_write_failed"
