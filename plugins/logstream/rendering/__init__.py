"""Rendering: one event and a message template give one JSON text."""

from logstream.rendering.masking import check_mask
from logstream.rendering.renderer import Renderer
from logstream.rendering.template import Template, compile_template

__all__ = ["Renderer", "Template", "check_mask", "compile_template"]
