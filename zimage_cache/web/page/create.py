"""The Create tab: the form on the left, the result card on the right. `card/card.js` connects them."""

import json
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from zimage_cache.request import (
    MAX_PICTURES,
    MAX_TEXT,
    PARAMETERS,
    SIDE_STEP,
    CacheMode,
    ModelProfile,
    Parameter,
    Sampler,
)
from zimage_cache.service.service import ImageService
from zimage_cache.web.page.form import defaults
from zimage_cache.web.page.labels import Labels
from zimage_cache.web.page.part import add_part

# What the page adds to the label of a choice.
_NOTES: Final[dict[str, str]] = {Sampler.HEUN: " (2×)"}

Field = gr.Textbox | gr.Number | gr.Slider | gr.Dropdown | gr.Radio


@dataclass(frozen=True, slots=True)
class Form:
    """The form's widgets: those for fields of a request, by field name, and the buttons."""

    fields: dict[str, Field]
    generate: gr.Button
    stop: gr.Button
    dice: gr.Button


def add_create(page: gr.Blocks, service: ImageService, words: Labels) -> None:
    """Build the tab inside *page* and connect its events."""
    with gr.Row(elem_classes="zi-create", equal_height=False):
        with gr.Column(scale=4, min_width=340, elem_classes="zi-form"):
            form = _form(service, words)
            add_part("read")
        with gr.Column(scale=7, min_width=340, elem_classes="zi-stage"):
            with gr.Column(elem_classes="zi-panel"):
                add_part("bar")
                add_part("card", elem_id="zi-card")
                add_part("queue")
                add_part("strip")
            add_part("similar")
    # Pressed by the page's script, because widgets can be changed only inside an event of Gradio.
    fill = gr.Button(visible="hidden", elem_id="zi-fill")
    _wire(page, form, fill)


def _form(service: ImageService, words: Labels) -> Form:
    profile = service.profile()
    fields: dict[str, Field] = {"prompt": _prompt(words)}
    add_part("prompt")
    with gr.Row(elem_classes="zi-actions"):
        # Of all numbers the style sheet shows a few, and the chosen one, see count.css.
        counts = [(str(n), n) for n in range(1, MAX_PICTURES + 1)]
        fields["n"] = gr.Radio(counts, value=1, label=words("n"), elem_id="zi-n", min_width=100)
        generate = gr.Button(words("generate"), variant="primary", size="lg", elem_id="zi-generate", min_width=60)
        stop = gr.Button(words("stop"), size="lg", scale=0, elem_id="zi-stop", min_width=60)
    add_part("styles")
    fields["style"] = gr.Radio([], label=words("style"), elem_id="zi-style")
    add_part("sizes")
    with gr.Column(elem_id="zi-sides"):
        with gr.Row(elem_classes="zi-sides"):
            fields |= {side: _side(side, profile, words) for side in ("width", "height")}
        add_part("sides")
    with gr.Row(elem_classes="zi-seed"):
        fields["seed"] = gr.Number(label=words("seed"), precision=0, elem_id="zi-seed", min_width=120)
        dice = gr.Button(words("dice"), elem_id="zi-dice", scale=0, min_width=38)
        add_part("seed")
    add_part("advanced")
    # Not Gradio's accordion: it creates its widgets when it is first opened, and resets their values shortly after
    # that, which overwrites text typed meanwhile. These widgets always exist; the component above shows and hides them.
    with gr.Column(elem_id="zi-advanced", elem_classes="zi-advanced"):
        fields["negative_prompt"] = _negative(words)
        # Not the textbox's `info`: changing a widget's texts makes Gradio discard the text being typed.
        add_part("negative")
        fields |= _advanced(profile, words)
        fields["cache"] = _cache(words)
        fields["model"] = _model(service, words)
    return Form(fields, generate, stop, dice)


def _prompt(words: Labels) -> Field:
    return gr.Textbox(
        label=words("prompt"),
        placeholder=words("prompt_hint"),
        lines=3,
        max_lines=12,
        max_length=MAX_TEXT,
        elem_id="zi-prompt",
    )


def _side(side: str, profile: ModelProfile, words: Labels) -> Field:
    return gr.Number(
        getattr(profile, side),
        label=words(side),
        step=SIDE_STEP,
        elem_id=f"zi-{side}",
        min_width=120,
    )


def _model(service: ImageService, words: Labels) -> Field:
    choices = [(str(service.profile(name).title), name) for name in service.models]
    return gr.Dropdown(
        choices, value=service.default_model, label=words("model"), elem_id="zi-model", visible=len(choices) > 1
    )


def _negative(words: Labels) -> Field:
    return gr.Textbox(
        label=words("negative_prompt"),
        placeholder=words("negative_prompt_hint"),
        lines=2,
        max_length=MAX_TEXT,
        elem_id="zi-negative_prompt",
    )


def _cache(words: Labels) -> Field:
    modes = [CacheMode.USE, CacheMode.REFRESH, CacheMode.BYPASS]
    return gr.Radio(modes, value=CacheMode.USE, label=words("cache"), elem_id="zi-cache")


def _advanced(profile: ModelProfile, words: Labels) -> dict[str, Field]:
    """Build the widgets of all parameters that have no widget of their own above."""
    rows = {name: row for name, row in PARAMETERS.items() if row.step or row.choices}
    usual = defaults(profile)
    return {name: _widget(row, usual[name], label=words(name), elem_id=f"zi-{name}") for name, row in rows.items()}


def _widget(row: Parameter, value: Any, **options: Any) -> Field:  # noqa: ANN401 - of the parameter's type
    if row.choices:
        choices = [(label + _NOTES.get(choice, ""), choice) for choice, label in row.choices]
        return gr.Dropdown(choices, value=value, **options)
    return gr.Slider(row.minimum, row.maximum, value, step=row.step, **options)


def _wire(page: gr.Blocks, form: Form, fill: gr.Button) -> None:
    names, widgets = json.dumps(list(form.fields)), list(form.fields.values())

    def named(call: str) -> str:
        # Gradio passes values by position; this function names them again at once.
        return f"(...values) => zimage.events.{call}({names}, values)"

    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    begun = page.load(None, outputs=widgets, inputs=widgets, js=named("begin"), **hidden)
    begun.then(None, js="() => zimage.events.settle()", **hidden)
    gr.on([field.change for field in widgets], None, inputs=widgets, js=named("heard"), **hidden)
    fill.click(None, inputs=widgets, outputs=widgets, js=named("filled"), trigger_mode="multiple", **hidden)
    form.generate.click(None, inputs=widgets, js=named("generate"), **hidden)
    form.stop.click(None, js="() => zimage.events.stop()", **hidden)
    form.dice.click(None, outputs=form.fields["seed"], js="() => zimage.events.drawSeed()", **hidden)
