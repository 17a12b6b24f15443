"""Formulas as MathML, which browsers show by themselves: the pages need no script and no network."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def _latex(source: str) -> str:
    # "aligned" is the one environment in use that the converter does not know; "align*" means the same here.
    return source.replace("{aligned}", "{align*}")


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(convert(_latex(node.astext())))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{convert(_latex(node.astext()), display="block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
