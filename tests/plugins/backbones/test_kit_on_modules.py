"""The conformance kit on modules of Python, which have no example of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sslkit import PythonModule
from sslkit.testing import check_spec


def network(norm: bool) -> nn.Sequential:
    """Gives a map, with batch norm or without."""
    torch.manual_seed(0)
    middle = [nn.BatchNorm2d(8)] if norm else []
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), *middle, nn.GELU(), nn.Conv2d(8, 8, 1))


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch norm"])
def test_the_kit(norm: bool) -> None:
    report = check_spec(PythonModule(network=network(norm)))
    assert [str(check) for check in report.failures] == []
    assert {check.subject for check in report.checks} == {"backbone/python_module"}
    assert any(check.state == "passed" for check in report.checks)
