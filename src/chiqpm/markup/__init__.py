"""Parts of HTML pages that the report and the web demo share: pictures, charts, the tree of an image.

Everything is built from values of `chiqpm.explain`; whatever comes from outside (names of classes, files, features) is
escaped by the templates.
"""

from __future__ import annotations
