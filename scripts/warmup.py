"""Waits for the server, then draws one small picture that is not stored: the same as `zimage warmup`."""

from zimage_cache.cli.main import warmup

warmup(prog_name="warmup.py")
