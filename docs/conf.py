"""The docs site: `make docs` builds it of these pages and of the docstrings, into build/docs.

Warnings are errors. The pages fetch nothing: fonts, styles and scripts are the theme's own files.
"""

from pnas_tf import __version__ as release

project = "pnas_tf"
author = copyright = "The pnas_tf authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Sources of Markdown; pages link to each other and to sections as they do in the checkout.
source_suffix = {".md": "markdown"}
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

# The API is read of the package without the libraries that take seconds to load.
autodoc_mock_imports = ["tensorflow", "tf_keras", "tensorflow_datasets"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"pnas_tf {release}"
html_copy_source = False
html_show_sphinx = False
