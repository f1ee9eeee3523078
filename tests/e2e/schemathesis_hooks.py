"""What schemathesis cannot know from the schema; it loads this module by the variable SCHEMATHESIS_HOOKS."""

import hashlib
from typing import Any

import schemathesis

KEY = "idempotency-key"


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Let each request have an idempotency key of its own: the same key with another body is refused."""
    for name in [name for name in case.headers or () if name.lower() == KEY]:
        if 0 < len(case.headers[name]) <= 200:
            case.headers[name] += hashlib.sha256(repr(case.body).encode()).hexdigest()[:32]
