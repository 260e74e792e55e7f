"""The page: Gradio's slider and menu beside a ruler of its own, drawn by page.js.

Gradio's components for pictures write what they are sent into a temporary folder, so the page sends its pictures to the
endpoint, `/score`, and no component of Gradio ever has one.
"""

from __future__ import annotations

import html
import math
from importlib.resources import files
from pathlib import Path

import gradio as gr
from fastapi import FastAPI

from mimi_lightning.ruler.ruler import PROXY, Ruler
from mimi_lightning.serve import answers, uploads

FONTS = ["system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif"]  # of the machine that looks: none is fetched
FOLDER = Path(str(files(__package__)))


def mount_page(app: FastAPI, ruler: Ruler) -> None:
    """Put the page at the root of an app whose routes stand already."""
    gr.mount_gradio_app(
        app,
        _page(ruler),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=True,
        ssr_mode=False,
        favicon_path=str(FOLDER / "icon.svg"),
        theme=gr.themes.Base(primary_hue="sky", font=FONTS, font_mono=["monospace"]),
        css=_asset("page.css"),
    )


def _page(ruler: Ruler) -> gr.Blocks:
    with gr.Blocks(title="MIMI ruler", analytics_enabled=False) as page:
        gr.HTML(
            html_template=_asset("page.html"),
            js_on_load=_asset("page.js"),
            apply_default_css=False,
            elem_id="front",
            ruler=answers.tell_scales(ruler).model_dump(),
            limits={"bytes": uploads.MAX_BYTES},
        )
        if answers.invertible(ruler):
            _add_translator(ruler)
        gr.HTML("<section id='ranked' aria-label='Pictures, the best first'></section>", apply_default_css=False)
    return page


def _add_translator(ruler: Ruler) -> None:
    first = ruler.scales[0]
    with gr.Column(elem_id="translator"):
        gr.HTML("<h2>A score on the other scales</h2>", apply_default_css=False)
        with gr.Row():
            scale = gr.Dropdown(list(ruler.scales), value=first, label="Scale", scale=1)
            score = gr.Slider(**_slider(ruler, first), label="Score", scale=3)
        told = gr.HTML(_table(ruler, first, _slider(ruler, first)["value"]), apply_default_css=False)

    def choose(name: str) -> dict:
        return gr.update(**_slider(ruler, name))

    def tell(name: str, value: float) -> str:
        return _table(ruler, name, value)

    quiet = {"show_progress": "hidden", "api_visibility": "private"}
    scale.input(choose, scale, score, **quiet).then(tell, [scale, score], told, **quiet)
    score.input(tell, [scale, score], told, trigger_mode="always_last", **quiet)
    told.change(None, js="() => document.dispatchEvent(new Event('told'))")


def _slider(ruler: Ruler, scale: str) -> dict[str, float]:
    """Round scores about the published range, from its middle."""
    low, high = ruler.range(scale)
    step = 10 ** math.floor(math.log10((high - low) / 100))
    low, middle, high = (round(round(end / step) * step, 9) for end in (low, (low + high) / 2, high))
    return {"minimum": low, "maximum": high, "step": step, "value": middle}


def _table(ruler: Ruler, source: str, score: float) -> str:
    """A score on all scales, as rows; `data-proxy` tells page.js where it lies on the ruler."""
    proxy = answers.tell_translation(ruler, source, PROXY, score).translated
    if proxy is None:
        return f"<p>Not even the worst or best picture has {score:.4g} on the scale of {html.escape(source)}.</p>"
    told = {name: answers.tell_translation(ruler, PROXY, name, proxy).translated for name in ruler.scales}
    rows = "".join(_row(answers.tell_meaning(ruler, score, name)) for name, score in told.items())
    head = "<th>scale</th><th>score</th><th>range</th><th>percentile</th><th>pictures like that, with their MOS</th>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f"<div class='scroll' data-proxy='{proxy}'>{table}</div>"


def _row(told: answers.Native) -> str:
    examples = ", ".join(f"{html.escape(each.image)} <small>{each.mos:.4g}</small>" for each in told.examples)
    place = "–" if told.percentile is None else f"{told.percentile:.0f}"
    cells = (
        html.escape(told.scale),
        f"{told.score:.4g}{'<small> outside</small>' if told.outside else ''}",
        f"{told.low:.3g} to {told.high:.3g}",
        place,
        examples or "–",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _asset(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
