"""Rendering: one event and a message template give one JSON text."""

from logstream.rendering.renderer import Renderer
from logstream.rendering.template import Template, compile_template

__all__ = ["Renderer", "Template", "compile_template"]
