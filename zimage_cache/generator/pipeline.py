"""Loads a `ZImagePipeline` onto a device, draws with it, and frees its memory.

Importing this module imports torch, diffusers and transformers, which takes 4 to 6 s. So `zimage` imports it only when
it loads a model, in the worker's thread. Exceptions of these libraries are translated once, by `failures`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import diffusers
import numpy as np
import torch
import transformers
from diffusers import ZImagePipeline
from diffusers.hooks import HookRegistry, apply_group_offloading

from zimage_cache.errors import Cancelled, GenerationFailed, GeneratorError
from zimage_cache.generator.device import Device
from zimage_cache.generator.embeddings import Embeddings, TextKey
from zimage_cache.generator.failures import collect, drawing_failed, first_line, loading_failed
from zimage_cache.generator.numerics import Pins
from zimage_cache.generator.oom_retry import DrawnPicture
from zimage_cache.generator.plan import DevicePlan, Offload, with_less_resident
from zimage_cache.generator.preview import Factors, factors_for, preview
from zimage_cache.generator.processor import this_processor
from zimage_cache.generator.protocol import Pixels, Step
from zimage_cache.generator.samplers import scheduler_for, sigmas_of
from zimage_cache.generator.tokens import count_tokens
from zimage_cache.i18n.messages import Message
from zimage_cache.request import Recipe

_log = logging.getLogger(__name__)
_TILE: Final = 512  # pixels: a quarter of the memory of a whole 1024x1024 decode, and seams the blending hides
# Warns at each call that the function is experimental; the version of diffusers is pinned, and tests cover its use.
_ATTENTION_LOG: Final = "diffusers.models.modeling_utils"
# Attributes that diffusers' group offloading sets on a model's blocks; it has no public function to remove them.
_GROUP_HOOKS: Final = ("group_offloading", "layer_execution_tracker", "lazy_prefetch_group_offloading")


@dataclass(frozen=True, slots=True)
class Engine:
    """How the transformer is computed: part of the identity's `runtime`, the same for every plan.

    `attention` is one of diffusers' attention backends; "auto" is "native", torch's `scaled_dot_product_attention`.
    `compiled` compiles the repeated blocks. `threads` of the CPU share its work.
    """

    attention: str = "auto"
    compiled: bool = False
    threads: int = field(default_factory=lambda: this_processor().threads)

    @property
    def switches_kernels(self) -> bool:
        """Whether the attention backend changes switches of the whole process at each call."""
        return self.attention.startswith("_native")


# Held while an engine that switches kernels draws, and while switches are pinned: pictures of such engines are drawn
# one after the other, also on several devices.
_SWITCHING: Final = threading.Lock()
_LOCK_SECONDS: Final = 0.1  # between two questions whether the picture is still wanted
DEFAULT_ENGINE: Final = Engine()


class LoadedPipeline:
    """A `ZImagePipeline` with its weights on a device. One thread at a time: the pipeline keeps state while it draws.

    Building one blocks for seconds to minutes.

    Args:
        folder: A complete model.
        device: Where the weights go.
        plan: The number format, and which weights stay on the device. Where the weights do not fit, fewer stay there:
            the attribute `plan` is then the plan in use, with the same `precision`.
        engine: How the transformer is computed.
        embeddings: Cache of the outputs of *folder*'s text encoder; may outlive this pipeline.

    The attribute `versions` names what draws, as in `Drawing`.

    Raises:
        ModelCorrupt: diffusers cannot make a pipeline of these files.
        OutOfMemory: The device, or main memory, is too small for them.
        DeviceFailed: The device is broken.
        GeneratorError: The attention backend cannot be used here.
    """

    def __init__(
        self,
        folder: Path,
        device: Device,
        plan: DevicePlan,
        engine: Engine = DEFAULT_ENGINE,
        *,
        embeddings: Embeddings | None = None,
    ) -> None:
        diffusers.utils.logging.disable_progress_bar()
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._device = torch.device(device.torch_name)
        self._embeddings = Embeddings() if embeddings is None else embeddings
        failure = None
        try:
            with _SWITCHING:
                self._pins = Pins(self._device, engine.threads)
            self.versions = _versions(device)
            self._load(folder, device, plan)
        except Exception as error:  # noqa: BLE001 - translated, and raised below
            failure = loading_failed(error, folder, device)
        if failure is not None:
            vars(self).clear()  # the error's frames refer to this object, which must not keep half-loaded weights
            collect()
            raise failure
        _set_engine(self._pipeline.transformer, engine)
        self._engine = engine

    def draw(
        self,
        recipe: Recipe,
        on_step: Callable[[Step], None],
        cancelled: Callable[[], bool],
        plan: DevicePlan | None = None,
    ) -> DrawnPicture:
        """Draw one picture under *plan* (None: the one it was loaded with), moving weights where the plan needs it.

        Every picture gets its own scheduler and noise source, and noise is always drawn on the CPU: earlier pictures,
        also cancelled and failed ones, have no effect, and a seed gives the same noise on every device. *plan* must
        have the number format of the weights as they were loaded.

        Raises:
            Cancelled: *cancelled* returned true before an evaluation.
            DeviceFailed: The device is broken; this object cannot draw any more.
            GeneratorError: Anything else; an exception of *on_step* is the cause.
        """
        watch = _Watch(recipe.evaluations, on_step, cancelled, self._wait, self._factors)
        try:
            with _alone(watch) if self._engine.switches_kernels else nullcontext():
                return self._draw(recipe, watch, plan or self.plan)
        except GeneratorError:
            raise
        except Exception as error:  # noqa: BLE001 - translated, and raised below
            failure = drawing_failed(error, self._device)
        # Translated here, not in a context manager: `contextlib` would keep the error's frames and so its tensors.
        raise failure

    def warnings(self, recipe: Recipe) -> tuple[Message, ...]:
        """Return warnings about texts that are too long: the pipeline truncates them without an error."""
        texts = {"prompt": recipe.prompt, "negative_prompt": recipe.negative_prompt}
        room = recipe.max_sequence_length
        return tuple(
            Message("of_field", field=name, reason=Message("too_many_tokens", tokens=tokens, room=room))
            for name, text in texts.items()
            if (tokens := self.count_tokens(text)) > room
        )

    def count_tokens(self, text: str) -> int:
        """Count the tokens the pipeline makes of *text*, its chat template included."""
        return count_tokens(self._pipeline.tokenizer, text)

    def unload(self) -> None:
        """Free the memory; this object cannot draw any more."""
        _ungroup(self._pipeline.transformer)
        _ungroup(self._reader.text_encoder)
        del self._pipeline, self._reader
        collect()

    def _load(self, folder: Path, device: Device, plan: DevicePlan) -> None:
        self._pipeline = _read(folder, plan)
        # Embeddings are computed here, so that the pipeline below uses no text encoder, wherever its weights are.
        self._reader = ZImagePipeline(
            scheduler=self._pipeline.scheduler,
            vae=None,
            text_encoder=self._pipeline.text_encoder,
            tokenizer=self._pipeline.tokenizer,
            transformer=None,
        )
        self._pipeline.register_modules(text_encoder=None)
        self._factors = factors_for(self._pipeline.vae.config)
        self.plan = self._settle(plan, device)

    @torch.no_grad()  # not inference_mode: weights moved inside it would stay inference tensors
    def _draw(self, recipe: Recipe, watch: "_Watch", plan: DevicePlan) -> DrawnPicture:
        watch.ask()
        self._pins.hold()
        self._place(plan)
        self._wait()
        started = time.perf_counter()
        texts = [recipe.prompt, recipe.negative_prompt][: 1 + (recipe.guidance_scale > 0)]
        embeddings = [self._embed(text, recipe.max_sequence_length) for text in texts]
        watch.begin()
        latents = self._denoise(recipe, embeddings, watch)
        pixels, drawn = self._decode(latents, plan)
        return DrawnPicture(pixels, time.perf_counter() - started, drawn)

    def _settle(self, plan: DevicePlan, device: Device) -> DevicePlan:
        """Move the weights as planned; where they do not fit, use the next plan with fewer of them on the device."""
        self.plan = replace(plan, offload=Offload.NONE, vae_tiling=False)
        while True:
            try:
                self._place(plan)
            except torch.OutOfMemoryError:
                smaller = with_less_resident(plan)
                if smaller is None:
                    raise
            else:
                return plan
            collect()
            _log.warning(
                "out_of_memory loading on %s: offload %s instead of %s", device.name, smaller.offload, plan.offload
            )
            plan = smaller

    def _place(self, plan: DevicePlan) -> None:
        """Move the weights to where *plan* puts them, unless they are there."""
        vae = self._pipeline.vae.to(self._device)
        vae.use_tiling = plan.vae_tiling
        vae.tile_sample_min_size, vae.tile_latent_min_size = _TILE, _TILE // self._pipeline.vae_scale_factor
        big = (self._reader.text_encoder, self._pipeline.transformer)
        if plan.offload is not self.plan.offload:
            for model in big:
                _ungroup(model)
        if plan.offload is Offload.NONE:
            for model in big:
                model.to(self._device)
        elif plan.offload is Offload.GROUP and self.plan.offload is not Offload.GROUP:
            for model in big:
                _group(model.to("cpu"), self._device)
        self.plan = plan

    def _bring(self, wanted: torch.nn.Module) -> None:
        """Move *wanted*, text encoder or transformer, to the device; under `model` offload, move the other one away."""
        if self.plan.offload is Offload.MODEL:
            for model in (self._reader.text_encoder, self._pipeline.transformer):
                if model is not wanted:
                    model.to("cpu")
            wanted.to(self._device)

    def _embed(self, text: str, max_sequence_length: int) -> torch.Tensor:
        """Return the text encoder's output for *text*, shape (tokens, width), from the cache where it is there."""
        key = TextKey(self.plan.weights, max_sequence_length, text)
        found = self._embeddings.get(key)
        if found is None:
            self._bring(self._reader.text_encoder)
            # A string, not a list: the pipeline modifies lists in place.
            [found], _ = self._reader.encode_prompt(
                text, self._device, do_classifier_free_guidance=False, max_sequence_length=max_sequence_length
            )
            self._embeddings.put(key, found)
        return found.to(self._device)

    def _denoise(self, recipe: Recipe, embeddings: list[torch.Tensor], watch: "_Watch") -> torch.Tensor:
        """Call the pipeline; returns its last latents, shape (1, 16, height / 8, width / 8), float32."""
        self._bring(self._pipeline.transformer)
        self._pipeline.scheduler = scheduler_for(recipe.sampler, recipe.shift)
        latents: torch.Tensor = self._pipeline(
            prompt_embeds=embeddings[:1],
            negative_prompt_embeds=embeddings[1:],
            height=recipe.height,
            width=recipe.width,
            num_inference_steps=recipe.steps,
            sigmas=sigmas_of(recipe.steps),
            guidance_scale=recipe.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(recipe.seed),
            callback_on_step_end=watch,
            callback_on_step_end_tensor_inputs=["latents", "noise_pred"],
            output_type="latent",
        ).images
        return latents

    def _decode(self, latents: torch.Tensor, plan: DevicePlan) -> tuple[Pixels, DevicePlan]:
        """Decode; where the number format overflows, again in float32. Returns the plan that was used."""
        image = self._decoded(latents)
        if not torch.isfinite(image).all() and plan.dtype != "float32":
            _log.warning("decoder overflowed as %s; decoding once more in float32", plan.dtype)
            vae = self._pipeline.vae
            try:
                vae.float()
                image = self._decoded(latents)
            finally:
                vae.to(getattr(torch, plan.dtype))  # gives the same bits as before: float32 holds them exactly
            plan = replace(plan, vae_float32=True)
        return _to_pixels(image), plan

    def _decoded(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the decoder's output, shape (3, height, width), values about -1..1."""
        vae = self._pipeline.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        image: torch.Tensor = vae.decode(scaled, return_dict=False)[0]
        return image[0]

    def _wait(self) -> None:
        """Wait until the device has finished its queued work: CUDA calls return before that."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class _Watch:
    """The pipeline's step callback: reports, checks, and stops by raising.

    It does not set the pipeline's `_interrupt`, which would decode and return an unfinished picture. Each report waits
    for the device first: otherwise all steps would be reported while the first one is computed.
    """

    def __init__(
        self,
        evaluations: int,
        on_step: Callable[[Step], None],
        cancelled: Callable[[], bool],
        wait: Callable[[], None],
        factors: Factors | None,
    ) -> None:
        self._evaluations = evaluations
        self._on_step = on_step
        self._cancelled = cancelled
        self._wait = wait
        self._factors = factors

    def begin(self) -> None:
        """Report that the prompt is encoded."""
        self._on_step(Step(0, self._evaluations))
        self.ask()

    def __call__(self, pipeline: Any, index: int, _time: object, tensors: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - diffusers ships no types
        self._wait()
        shown = None
        if self._factors is not None:
            shown = partial(_preview, pipeline.scheduler.sigmas[index + 1], tensors, self._factors)
        self._on_step(Step(index + 1, self._evaluations, shown))
        if index + 1 < self._evaluations:
            self.ask()
        elif not torch.isfinite(tensors["latents"]).all():
            raise GenerationFailed("numbers_not_finite")
        # Only the tensors that the pipeline reads back from a callback.
        return {"latents": tensors["latents"]}

    def ask(self) -> None:
        """Raise `Cancelled` if the picture is no longer wanted."""
        if self._cancelled():
            raise Cancelled("unwanted")


@contextmanager
def _alone(watch: "_Watch") -> Iterator[None]:
    """Wait until no other engine switches kernels, as long as the picture is wanted, and keep others waiting."""
    while not _SWITCHING.acquire(timeout=_LOCK_SECONDS):
        watch.ask()
    try:
        yield
    finally:
        _SWITCHING.release()


def _versions(device: Device) -> dict[str, str]:
    name = device.name.removesuffix(f" ({device.torch_name})")  # the number among several GPUs
    found = {"device": name, "cpu": f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"}
    if device.capability is not None:
        found["cuda"] = str(torch.version.cuda)
        with suppress(RuntimeError):  # a cuDNN of another version than torch was built for
            found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    return found


def _preview(sigma: torch.Tensor, tensors: dict[str, torch.Tensor], factors: Factors) -> bytes:
    return preview((tensors["latents"] - sigma.item() * tensors["noise_pred"])[0].float(), factors)


def _read(folder: Path, plan: DevicePlan) -> ZImagePipeline:
    pipeline = ZImagePipeline.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=getattr(torch, plan.dtype)
    )
    pipeline.set_progress_bar_config(disable=True)
    if plan.int8:
        # Imported here because it is an optional dependency.
        from torchao.quantization import Int8WeightOnlyConfig, quantize_  # noqa: PLC0415

        for model in (pipeline.transformer, pipeline.text_encoder):
            quantize_(model, Int8WeightOnlyConfig())
    return pipeline


def _set_engine(transformer: Any, engine: Engine) -> None:  # noqa: ANN401 - diffusers ships no types
    """Set the attention backend of this pipeline explicitly, also the default one, and compile its blocks on request.

    A transformer without an explicit backend follows a default of the whole process: the environment variable
    `DIFFUSERS_ATTN_BACKEND`, or the last call of `set_attention_backend` on any model.
    """
    backend = "native" if engine.attention == "auto" else engine.attention
    try:
        with _without_warnings(_ATTENTION_LOG):
            transformer.set_attention_backend(backend)
    except Exception as error:
        raise GeneratorError("attention_unusable", name=backend, error=first_line(error)) from error
    if engine.compiled:
        _choose_kernels_by_rules()
        # Not `fullgraph=True`: group offloading, which a later plan may use, adds calls between the blocks' layers.
        transformer.compile_repeated_blocks()


def _choose_kernels_by_rules() -> None:
    """Make torch's compiler choose among kernels without measuring them: measured times vary from start to start."""
    import torch._inductor.config as compiler  # noqa: PLC0415 - takes a second, and only compiled blocks need it

    if hasattr(compiler, "deterministic"):
        compiler.deterministic = True


@contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _group(model: torch.nn.Module, device: torch.device) -> None:
    """Leave *model* in main memory and copy each layer to the device before it runs, overlapping with computation."""
    streams = {"use_stream": True, "record_stream": True} if device.type == "cuda" else {}
    apply_group_offloading(model, onload_device=device, offload_type="leaf_level", **streams)


def _ungroup(model: torch.nn.Module) -> None:
    registry = HookRegistry.check_if_exists_or_initialize(model)
    for hook in _GROUP_HOOKS:
        registry.remove_hook(hook, recurse=True)


def _to_pixels(image: torch.Tensor) -> Pixels:
    """Round to RGB bytes, shape (height, width, 3); copying them to main memory waits for the device."""
    if not torch.isfinite(image).all():
        raise GenerationFailed("pixels_not_finite")
    levels = (image.float() / 2 + 0.5).clamp(0, 1) * 255
    pixels: Pixels = levels.round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(pixels)
