"""The promises of every family, as checks."""
