"""A definition as a picture: Mermaid for pages that render it, SVG for everything else.

shapes = shapes_of(definition)     # what is worth showing, in plain words
text = mermaid(definition)         # or svg(definition)

Pure: it imports contracts and the standard library only, and looks at documents of every kind, also
those that this version cannot run.
"""

from amends_orchestrator.drawing.mermaid import mermaid
from amends_orchestrator.drawing.shapes import Lane, Shape, shapes_of
from amends_orchestrator.drawing.svg import svg

__all__ = ["Lane", "Shape", "mermaid", "shapes_of", "svg"]
