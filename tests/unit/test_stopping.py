"""The end of a process that is hashing weights: at once, not after 33 GB. Each in a process of its own."""

import signal
import subprocess
import sys

import pytest

from tests.factories import present

# Endless weights: hashing them never finishes.
ENDLESS = """
import io, pathlib, sys, threading, time
from zimage_cache.models.store import demo_folder

begun = threading.Event()
real = pathlib.Path.open

class Endless(io.RawIOBase):
    def readable(self):
        return True

    def readinto(self, buffer):
        begun.set()
        time.sleep(0.01)
        return len(buffer)

def open_(path, mode="r", *args, **options):
    return Endless() if path.suffix == ".safetensors" and mode == "rb" else real(path, mode, *args, **options)

pathlib.Path.open = open_
root = pathlib.Path(sys.argv[1])
"""

SERVER = """
import asyncio
from zimage_cache import compose
from zimage_cache.settings import Settings
from zimage_cache.request import ImageRequest

settings = Settings(workspace=root, device="cpu", preload=PRELOAD)
generator = compose.make_generator(settings)
service, running = compose.make_service(settings, generator)

async def ask():
    asking = asyncio.ensure_future(service.ask(ImageRequest(prompt="x"), patient=True))
    assert await asyncio.to_thread(begun.wait, 100)
    asking.cancel()

with running():
    if PRELOAD:
        assert begun.wait(100)
    else:
        asyncio.run(ask())
print("closed", flush=True)
"""

INTERRUPTED = """
from zimage_cache.models.revision import content_revision

def on_progress(_progress):
    print("hashing", flush=True)

content_revision(demo_folder(), root / "hashes.json", on_progress=on_progress)
"""


@pytest.mark.parametrize("preload", [False, True])
def test_a_server_that_is_hashing_stops(tmp_path, preload):
    """Told to end while it finds out who it is, for a request or for a load, the process ends."""
    code = ENDLESS + SERVER.replace("PRELOAD", str(preload))
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=200, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "closed\n"), ended.stderr


def test_a_command_that_is_hashing_can_be_interrupted(tmp_path):
    """Ctrl+C in the middle of it ends the process, whose threads would read on."""
    command = [sys.executable, "-c", ENDLESS + INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert present(process.stdout).readline() == "hashing\n"
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=200)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in error
