"""Run specifications as frozen pydantic models. Nothing here imports torch."""
