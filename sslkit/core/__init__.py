"""Component interfaces, which plugins implement and the trainer relies on."""
