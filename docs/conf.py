"""How the documentation is built."""

import shutil
import sys
from pathlib import Path

import layerwise

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "layerwise"
author = "the layerwise developers"
project_copyright = "2026, the layerwise developers"
version = release = layerwise.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "mathml",
]
html_math_renderer = "mathml"
# .py is a page format here (see nb_custom_formats), so these files must be kept from becoming pages.
# The tables in benchmarks/ and curves/ are parts of a page.
exclude_patterns = ["_build", "_ext", "benchmarks", "conf.py", "curves", "examples/common.py"]

html_theme = "furo"
html_title = f"layerwise {release}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]

# Reference: docstrings in numpydoc style.
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"

# Mathematics in pages and examples: $...$ and $$...$$.
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Examples: programs in percent format (cells begin with "# %%"), run on every build.
nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
# Not "cache": a cached page would not notice that the library changed.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = False
nb_merge_streams = True
nb_render_markdown_format = "myst"

HERE = Path(__file__).parent


def copy_examples() -> None:
    """Copy the examples, and the files they read, from examples/ to docs/examples/.

    A page runs in the folder it lies in, so an example finds its data at the same relative path as when it
    is run in examples/, and what it writes stays out of the source tree.
    """
    target = HERE / "examples"
    shutil.rmtree(target, ignore_errors=True)
    source = HERE.parent / "examples"
    if not source.is_dir():
        return

    def not_for_pages(_folder: str, names: list[str]) -> list[str]:
        # common.py is no page, but the pages import it.
        programs = [n for n in names if n.endswith(".py") and not n.startswith("s") and n != "common.py"]
        return [*programs, *(n for n in names if n.endswith((".sh", ".md", "__")))]

    shutil.copytree(source, target, ignore=not_for_pages)


copy_examples()
