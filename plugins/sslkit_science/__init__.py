"""Sources of medical, microscopy and satellite images."""
