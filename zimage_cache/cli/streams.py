"""Standard streams that no character breaks, whatever the terminal can show."""

import codecs
import io
import json
import sys
from encodings import ascii as ascii_codec
from typing import Final

_ESCAPES: Final = "zimage-escapes"
# ASCII under another name: to a stream called ASCII click would write UTF-8.
_SEVEN_BITS: Final = "seven_bits"


def make_streams_safe() -> None:
    r"""Write what a stream cannot show as `\u7ea2`: readable in text, and valid JSON within JSON; read anything."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_SEVEN_BITS if is_ascii else None, errors=_ESCAPES)
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _seven_bits(name: str) -> codecs.CodecInfo | None:
    if name != _SEVEN_BITS:
        return None
    codec = ascii_codec.Codec()
    return codecs.CodecInfo(
        codec.encode,
        codec.decode,
        incrementalencoder=ascii_codec.IncrementalEncoder,
        incrementaldecoder=ascii_codec.IncrementalDecoder,
        name=_SEVEN_BITS,
    )


codecs.register_error(_ESCAPES, _escaped)
codecs.register(_seven_bits)
