"""Nodes for ComfyUI that move a photo with fomm."""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
