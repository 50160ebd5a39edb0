"""Embeddings of images in files: taken, read, evaluated and searched."""
