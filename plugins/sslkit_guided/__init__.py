"""Built-in maskers that look at images, teachers or losses."""
