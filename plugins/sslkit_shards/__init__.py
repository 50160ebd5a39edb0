"""Sources of images in shards: tar files, read by offset."""
