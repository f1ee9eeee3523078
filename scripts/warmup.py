"""Wait for the server, then draw one small picture that leaves no trace: `zimage warmup` under another name."""

from zimage_cache.cli.main import warmup

warmup(prog_name="warmup.py")
