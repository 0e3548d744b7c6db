"""The docs site: `make docs` builds it of these pages and of the docstrings, into build/docs.

Warnings are errors. The pages fetch nothing: fonts, styles and scripts are the theme's own files.
"""

import posixpath

from docutils import nodes
from sphinx.application import Sphinx

from pnas_tf import __version__ as release

project = "pnas_tf"
author = copyright = "The pnas_tf authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

highlight_language = "text"

# Sources of Markdown; pages link to each other and to sections as they do in the checkout.
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# The API is read of the package without the libraries that take seconds to load.
autodoc_mock_imports = ["tensorflow", "tf_keras", "tensorflow_datasets"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True  # DataConfig(), not all of its fields
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"pnas_tf {release}"
html_copy_source = False
html_show_sphinx = False


def name_pages(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """A link whose words are a file name, as they are in the checkout, gets that page's title."""
    for link in doctree.findall(nodes.reference):
        words = link.astext()
        page = posixpath.normpath(posixpath.join(posixpath.dirname(docname), words))
        title = app.env.titles.get(page.removesuffix(".md"))
        if title is not None and words.endswith(".md"):
            link.children = [nodes.Text(title.astext())]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("doctree-resolved", name_pages)
