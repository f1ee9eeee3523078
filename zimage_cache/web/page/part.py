"""Components of the page outside Gradio: a static template, controlled by the script of the same name."""

import gradio as gr

from zimage_cache.web.page.assets import asset


def add_part(name: str) -> None:
    """Add `<name>.html` at the current place in the layout, and pass its element to the script `zimage.<name>`.

    No values are inserted into the template, because Gradio would evaluate them. The script sets text as text nodes.
    """
    gr.HTML(html_template=asset(f"{name}.html"), js_on_load=f"zimage.{name}(element)", apply_default_css=False)
