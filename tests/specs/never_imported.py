"""Nothing imports this; tests tell by `sys.modules`."""
