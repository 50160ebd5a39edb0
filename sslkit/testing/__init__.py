"""The conformance kit for plugins: `check_plugin("my-plugin").require()` in a test of your own."""

from sslkit.testing.conformance import check_plugin, check_spec
from sslkit.testing.kit_report import Check, Report

__all__ = ["Check", "Report", "check_plugin", "check_spec"]
