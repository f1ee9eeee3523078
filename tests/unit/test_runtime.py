"""`runtime`: it names what differs from the machine of the first keys, and variables that hide more are ignored."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError

import pytest

from zimage_cache.environment import ignore_what_changes_pixels
from zimage_cache.generator import runtime
from zimage_cache.generator.device import CPU, Device
from zimage_cache.generator.processor import Processor
from zimage_cache.generator.runtime import runtime_of

H200 = Device("cuda:0", "NVIDIA H200", (9, 0), 150_000_000_000)
FIRST = Processor("x86_64", "avx512", 2)
INSTALLED = {
    "diffusers": "0.42.1",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "cuda-toolkit": "13.0.2",
    "nvidia-cublas": "13.1.0.3",
    "nvidia-cudnn-cu13": "9.20.0.48",
    "triton": "3.7.0",
}
REQUIRED = {
    "torch": [
        "typing-extensions>=4.10",
        'cuda-toolkit[cublas,cudart]==13.0.2; python_version >= "3"',
        'nvidia-cudnn-cu13==9.20.0.48; python_version >= "3"',
        'triton==3.7.0; python_version >= "3"',
        'nvidia-nothing==1; python_version < "3"',
        'optree==0.13; extra == "optree"',
    ],
    "cuda-toolkit": ['nvidia-cublas==13.1.0.3.*; extra == "cublas"', 'nvidia-cufft==12.0.0.61.*; extra == "cufft"'],
}


@pytest.fixture
def install(monkeypatch):
    """Return a function that adds packages to those of the first keys' machine."""
    monkeypatch.setattr(runtime, "requires", REQUIRED.get)

    def add(**versions: str) -> None:
        there = INSTALLED | {name if "attn" in name else name.replace("_", "-"): at for name, at in versions.items()}

        def version(name: str) -> str:
            if not there.get(name):
                raise PackageNotFoundError(name)
            return there[name]

        monkeypatch.setattr(runtime, "version", version)

    add()
    return add


def named(device: Device, processor: Processor = FIRST, *, int8: bool = False, environ: Mapping[str, str] = {}) -> str:
    """Return what `runtime_of` adds to the four words that every identity has."""
    return runtime_of(device, processor, int8=int8, environ=environ).partition("sdpa")[2].strip()


@pytest.mark.usefixtures("install")
def test_the_machine_of_the_first_keys_is_four_words():
    """So they stay valid: versions, device class, attention; also for a CPU build, and on a CPU."""
    assert runtime_of(H200, FIRST, environ={}) == "diffusers-0.42.1 torch-2.13.0 cuda-sm_90 sdpa"
    assert runtime_of(CPU, FIRST, environ={}) == "diffusers-0.42.1 torch-2.13.0 cpu sdpa"


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"transformers": "5.24.0"}, "transformers-5.24.0"),
        ({"torch": "2.13.0+cu126"}, "torch+cu126"),
        ({"torch": "2.13.0+cpu"}, ""),
        ({"nvidia_cudnn_cu13": "9.21.1.3"}, "nvidia-cudnn-cu13-9.21.1.3"),
        ({"nvidia_nothing": "2", "nvidia_cufft": "1"}, ""),  # for other systems, and not asked for by torch
        ({"triton": "3.8.0"}, "triton-3.8.0"),
        ({"triton": ""}, "triton-none"),
        ({"nvidia_cublas": "13.2.1.1"}, "nvidia-cublas-13.2.1.1"),
        ({"torchao": "0.19.0", "flash_attn": "2.8.3", "sageattention": "2.2.0"}, ""),  # not used
    ],
)
def test_other_libraries_are_named_on_a_gpu(install, installed, expected):
    """All that compute there, where their version is not the one that torch requires."""
    install(**installed)
    assert named(H200) == expected


def test_cuda_is_not_named_on_a_cpu(install):
    """Its libraries do not run there."""
    install(torch="2.13.0+cu126", nvidia_cudnn_cu13="9.21.1.3")
    assert named(CPU) == ""


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        ("flash", " flash flash_attn-1"),
        ("flash_varlen", " flash_varlen flash_attn-1"),
        ("_flash_3", " _flash_3 flash_attn_3-2"),
        ("_flash_varlen_3", " _flash_varlen_3 flash_attn_3-2"),
        ("_flash_3_hub", " _flash_3_hub kernels-3"),
        ("sage_hub", " sage_hub kernels-3"),
        ("_sage_qk_int8_pv_fp16_triton", " _sage_qk_int8_pv_fp16_triton sageattention-4"),
        ("xformers", " xformers xformers-5"),
        ("_native_flash", " _native_flash"),
        ("flex", " flex"),
        ("auto", " sdpa"),
        ("native", " sdpa"),
    ],
)
def test_the_package_of_an_attention_backend_is_named(install, attention, expected):
    """Each by the version of the package that it comes from; torch's own have none."""
    install(flash_attn="1", flash_attn_3="2", kernels="3", sageattention="4", xformers="5")
    assert runtime_of(H200, FIRST, attention, environ={}).endswith(f" cuda-sm_90{expected}")


def test_torchao_is_named_where_it_draws(install):
    """Only for weights in 8 bits, and only another version than that of the first keys."""
    install(torchao="0.18.0")
    assert named(H200, int8=True) == ""
    install(torchao="0.19.0")
    assert named(H200, int8=True) == "torchao-0.19.0"


@pytest.mark.usefixtures("install")
def test_another_kind_of_processor_is_named():
    """It draws other noise, also for a GPU."""
    arm = Processor("aarch64", "baseline", 2)
    assert named(CPU, arm) == named(H200, arm) == "aarch64 baseline"
    assert named(H200, replace(arm, kernels="sve")) == "aarch64 sve"


@pytest.mark.usefixtures("install")
@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
@pytest.mark.parametrize("kernels", ["baseline", "unknown"])
def test_a_processor_without_avx2_is_named(machine, kernels):
    """Likewise; one that tells nothing may be one."""
    processor = Processor(machine, kernels, 2)
    assert named(H200, processor) == named(CPU, processor) == kernels


@pytest.mark.usefixtures("install")
def test_threads_are_named_where_they_were_chosen():
    """And where they draw. A machine's own number is not named, so that its keys stay valid."""
    assert named(CPU, replace(FIRST, kernels="avx2", threads=8)) == ""
    assert named(CPU, replace(FIRST, threads=8, chosen=True)) == "8-threads"
    assert named(H200, replace(FIRST, threads=8, chosen=True)) == ""


@pytest.mark.usefixtures("install")
def test_instructions_that_a_variable_chooses_are_named():
    """They change what a CPU computes; empty variables choose nothing."""
    environ = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "", "HOME": "/root"}
    assert named(CPU, environ=environ) == "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=avx2"
    assert named(CPU, environ={"ATEN_CPU_CAPABILITY": "AVX512"}) == ""  # the machine's own
    assert named(H200, environ={"TRITON_PTXAS_PATH": "/opt/CUDA/ptxas"}) == "TRITON_PTXAS_PATH=/opt/CUDA/ptxas"


IGNORED = {
    "CUBLASLT_WORKSPACE_SIZE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "DIFFUSERS_ATTN_BACKEND": "flash",
    "DISABLE_ADDMM_CUDA_LT": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "PYTORCH_TUNABLEOP_ENABLED": "1",
    "TORCHINDUCTOR_MAX_AUTOTUNE": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "TORCH_BLAS_PREFER_CUBLASLT": "1",
    "TORCH_CUDNN_SDPA_DEPRIORITIZED": "1",
    "TORCH_CUDNN_V8_API_DISABLED": "1",
    "TRANSFORMERS_SDPA_FORCE_GQA": "1",
    "USE_HUB_KERNELS": "YES",
}
KEPT = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "CUBLAS_LOGINFO_DBG": "1",
    "CUDA_VISIBLE_DEVICES": "0",
    "HF_HOME": "/models",
    "OMP_NUM_THREADS": "1",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/inductor",
    "TORCH_HOME": "/models",
    "TRANSFORMERS_CACHE": "/models",
    "TRITON_CACHE_DIR": "/tmp/triton",
}


def test_variables_that_change_pixels_are_ignored(caplog):
    """They are removed, and one line names them without their values; folders, threads and memory are left alone."""
    environ = IGNORED | KEPT
    ignore_what_changes_pixels(environ)
    assert environ == KEPT
    (record,) = caplog.records
    assert record.getMessage().endswith(": " + ", ".join(sorted(IGNORED)))
    ignore_what_changes_pixels(environ)
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("install")
def test_ignored_variables_change_no_key():
    """What is removed before anything is drawn is in no identity."""
    assert named(CPU, environ=IGNORED) == ""
