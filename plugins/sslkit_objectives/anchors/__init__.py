"""Terms that keep a student near an earlier one."""
