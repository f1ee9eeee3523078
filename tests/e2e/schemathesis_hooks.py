"""What schemathesis cannot know from the schema; it loads this module by the variable SCHEMATHESIS_HOOKS."""

import base64
import hashlib
from typing import Any

import numpy as np
import schemathesis

from zimage_cache.metadata import png

KEY = "idempotency-key"
PICTURE = base64.b64encode(png.encode(np.zeros((16, 16, 3), np.uint8), {})).decode()


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Let each request have an idempotency key of its own: the same key with another body is refused.

    A text that should be a picture in base64 becomes one.
    """
    for name in [name for name in case.headers or () if name.lower() == KEY]:
        if 0 < len(case.headers[name]) <= 200:
            case.headers[name] += hashlib.sha256(repr(case.body).encode()).hexdigest()[:32]
    if case.path == "/sdapi/v1/png-info" and isinstance(case.body, dict) and isinstance(case.body.get("image"), str):
        case.body["image"] = PICTURE
