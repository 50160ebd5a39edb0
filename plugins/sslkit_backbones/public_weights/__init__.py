"""Public files of weights, read under timm's names."""
