"""Processes, devices, seeds, signals and files: what every floor above stands on."""
