"""Parts of an HTML page: markup, charts, images."""
