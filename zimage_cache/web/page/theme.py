"""The page's colours and fonts, light and dark; only fonts that are installed on every system."""

from typing import Final

import gradio as gr
from gradio.themes.utils.colors import Color

_INK: Final = Color(
    name="ink",
    c50="#faf9f7",
    c100="#f3f1ec",
    c200="#e5e2da",
    c300="#d2cec3",
    c400="#a09b8f",
    c500="#726d63",
    c600="#58544c",
    c700="#403d37",
    c800="#2a2824",
    c900="#1d1b18",
    c950="#141311",
)
_SANS: Final = ("system-ui", "-apple-system", "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC")
_MONO: Final = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono")


# Borders of input fields and buttons have a contrast of 3:1.
_EDGE: Final = ("#918b80", "#6f6a60")
# The colours of Gradio's theme variables: light, dark.
_PAINT: Final = {
    "body_background_fill": ("*neutral_50", "*neutral_950"),
    "body_text_color": ("*neutral_900", "*neutral_100"),
    "body_text_color_subdued": ("*neutral_500", "*neutral_400"),
    "background_fill_primary": ("white", "*neutral_900"),
    "background_fill_secondary": ("*neutral_50", "*neutral_950"),
    "block_background_fill": ("transparent", "transparent"),
    "block_border_color": ("*neutral_200", "*neutral_800"),
    "block_label_background_fill": ("transparent", "transparent"),
    "block_label_text_color": ("*neutral_600", "*neutral_300"),
    "block_title_text_color": ("*neutral_600", "*neutral_300"),
    "block_info_text_color": ("*neutral_500", "*neutral_400"),
    "border_color_primary": ("*neutral_200", "*neutral_800"),
    "input_background_fill": ("white", "*neutral_950"),
    "input_border_color": _EDGE,
    "input_border_color_focus": ("*neutral_900", "*neutral_200"),
    "input_placeholder_color": ("*neutral_500", "*neutral_400"),
    "button_primary_background_fill": ("*neutral_900", "*neutral_100"),
    "button_primary_background_fill_hover": ("*neutral_700", "white"),
    "button_primary_text_color": ("white", "*neutral_900"),
    "button_primary_border_color": ("transparent", "transparent"),
    "button_secondary_background_fill": ("transparent", "transparent"),
    "button_secondary_background_fill_hover": ("*neutral_100", "*neutral_800"),
    "button_secondary_text_color": ("*neutral_800", "*neutral_200"),
    "button_secondary_border_color": _EDGE,
    "slider_color": ("*neutral_700", "*neutral_300"),
    "checkbox_background_color_selected": ("*neutral_900", "*neutral_100"),
    "checkbox_label_background_fill": ("white", "*neutral_950"),
    "checkbox_label_background_fill_selected": ("*neutral_100", "*neutral_800"),
    "checkbox_label_border_color": _EDGE,
}
_SHAPE: Final = {
    "block_border_width": "0px",
    "block_title_text_weight": "500",
    "block_title_text_size": "*text_sm",
    "block_padding": "0px",
    "block_shadow": "none",
    "border_color_accent": "*neutral_400",
    "color_accent": "*neutral_900",
    "input_border_width": "1px",
    "input_radius": "8px",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 3px color-mix(in srgb, *neutral_500 25%, transparent)",
    "button_large_radius": "*radius_lg",
}


def theme() -> gr.themes.Base:
    """Return the theme. It loads nothing over the network."""
    light = {name: paint for name, (paint, _) in _PAINT.items()}
    dark = {f"{name}_dark": paint for name, (_, paint) in _PAINT.items()}
    # Plain font names only: Gradio's font classes would look for files or a web service.
    return gr.themes.Base(
        primary_hue=_INK,
        secondary_hue=_INK,
        neutral_hue=_INK,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
        font=(*_SANS, "sans-serif"),
        font_mono=(*_MONO, "monospace"),
    ).set(**light, **dark, **_SHAPE)
