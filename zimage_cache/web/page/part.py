"""Parts of the page that are our own: a static template, brought to life by the script of the same name."""

import gradio as gr

from zimage_cache.web.page.assets import asset


def add_part(name: str) -> None:
    """Lay out `<name>.html` where we are, and hand its element to `zimage.<name>`.

    Nothing is ever filled into the template: Gradio would evaluate it. The script writes text as text.
    """
    gr.HTML(html_template=asset(f"{name}.html"), js_on_load=f"zimage.{name}(element)", apply_default_css=False)
