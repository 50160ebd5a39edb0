"""The interfaces: what plugins implement and the trainer relies on."""
