"""Tests of the distribution `sslkit-audio`."""
