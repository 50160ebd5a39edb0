"""Where images and their masks are: folders and endings. Torch-free."""

from __future__ import annotations

IMAGES, MASKS = "images", "masks"
"""Folders below the root."""
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MASK_EXTENSIONS = (".png",)
