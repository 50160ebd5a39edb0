"""Whole trainings: 20 steps of the product against straight-line code, and both against stored arrays."""
