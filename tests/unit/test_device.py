"""The device is known without torch, from the driver's own answers."""

import ctypes
from dataclasses import replace

import pytest

from zimage_cache.errors import SettingsError
from zimage_cache.generator import device
from zimage_cache.generator.device import CPU, Device, cuda_devices, find_device, find_peers

H200 = Device("cuda:0", "NVIDIA H200", (9, 0), 150_123_456_789)
T4 = Device("cuda:1", "Tesla T4", (7, 5), 15_642_329_088)


def target(reference):
    """Give what `ctypes.byref` points to; Python code has no public way back from it."""
    return reference._obj  # noqa: SLF001 - see above


class FakeDriver:
    """Answers like NVIDIA's driver with two devices; `fails` maps a function's name to the code it answers."""

    def __init__(self, **fails: int) -> None:
        self._fails = fails

    def __getattr__(self, name):
        def function(*arguments):
            return self._fails.get(name) or getattr(self, f"_{name}")(*arguments) or 0

        function.__name__ = name
        return function

    def _cuInit(self, flags):  # noqa: N802 - the driver's spelling
        assert flags == 0

    def _cuDeviceGetCount(self, count):  # noqa: N802 - see above
        target(count).value = 2

    def _cuDeviceGet(self, ordinal, number):  # noqa: N802 - see above
        target(ordinal).value = 40 + number

    def _cuDeviceGetAttribute(self, value, attribute, ordinal):  # noqa: N802 - see above
        target(value).value = [H200, T4][ordinal - 40].capability[attribute - 75]

    def _cuDeviceTotalMem_v2(self, total, ordinal):  # noqa: N802 - see above
        assert isinstance(target(total), ctypes.c_size_t)
        target(total).value = [H200, T4][ordinal - 40].total_bytes

    def _cuDeviceGetName(self, name, size, ordinal):  # noqa: N802 - see above
        assert size == len(name)
        name.value = [H200, T4][ordinal - 40].name.encode()


def with_driver(monkeypatch, driver, *, torch_has_cuda=True):
    monkeypatch.setattr(device, "_driver", lambda: driver)
    monkeypatch.setattr(device, "_torch_has_cuda", lambda: torch_has_cuda)


def test_cards_are_described_by_the_driver(monkeypatch):
    """Name, capability and whole memory come from the driver, by ordinal, for every visible device."""
    with_driver(monkeypatch, FakeDriver())
    assert cuda_devices() == [H200, T4]


def test_no_driver_means_no_cards(monkeypatch):
    """A machine without NVIDIA's library has no CUDA devices, and nothing is raised."""
    with_driver(monkeypatch, None)
    assert cuda_devices() == []


def test_a_torch_without_cuda_cannot_use_the_card(monkeypatch):
    """Where a CPU build of torch meets a device, the device is not offered, and the driver is not even asked."""
    with_driver(monkeypatch, FakeDriver(cuInit=1), torch_has_cuda=False)
    assert cuda_devices() == []


@pytest.mark.parametrize("function", ["cuInit", "cuDeviceGetCount", "cuDeviceTotalMem_v2"])
def test_a_failing_driver_is_logged_and_ignored(monkeypatch, caplog, function):
    """A driver that answers with an error (say, an unloaded kernel module) leaves the CPU, with one warning."""
    with_driver(monkeypatch, FakeDriver(**{function: 999}))
    assert cuda_devices() == []
    assert [record.getMessage() for record in caplog.records] == [
        f"CUDA: the driver is installed but answers error 999 from {function}; drawing on the CPU"
    ]


@pytest.mark.parametrize(
    ("asked", "expected"), [("auto", H200), ("cuda", H200), ("cuda:0", H200), ("cuda:1", T4), ("cpu", CPU)]
)
def test_the_device_asked_for_is_the_device_got(asked, expected):
    """`auto` takes the first device, a number insists on one, and `cpu` is the CPU even beside devices."""
    assert find_device(asked, lambda: [H200, T4]) == expected


def test_auto_without_cards_is_the_cpu():
    """Everything runs without a GPU."""
    assert find_device("auto", list) == CPU


@pytest.mark.parametrize("asked", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "auto:0", "cpu:0", "CUDA", "cuda:2", "mps"])
def test_a_device_that_is_none_is_refused(asked):
    """An unknown word, or a missing device, is a `SettingsError` that names the value."""
    with pytest.raises(SettingsError, match=rf"^device: .*got '{asked}'"):
        find_device(asked, lambda: [H200, T4])


def test_cuda_without_cards_is_refused():
    """Asking for CUDA where there is none does not silently draw on the CPU."""
    with pytest.raises(SettingsError, match="0 CUDA devices"):
        find_device("cuda", list)


def test_peers_are_the_other_devices_of_the_same_make():
    """`auto` draws on all of them; another make, an explicit choice and the CPU have none."""
    second, third = (replace(H200, torch_name=f"cuda:{number}") for number in (1, 3))
    devices = [H200, second, replace(T4, torch_name="cuda:2"), third]
    assert find_peers(H200, "auto", lambda: devices) == [second, third]
    assert find_peers(second, "cuda:1", lambda: devices) == []
    assert find_peers(CPU, "auto", lambda: devices) == []


def test_the_device_class_names_the_kernels():
    """Cards of one compute capability share a class; the identity says no more about the machine."""
    assert [d.device_class for d in (H200, T4, CPU)] == ["cuda-sm_90", "cuda-sm_75", "cpu"]
