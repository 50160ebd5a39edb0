"""Reading of files that anybody may have written. Torch-free."""
