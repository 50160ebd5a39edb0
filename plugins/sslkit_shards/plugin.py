"""The plugin `shards`: its kinds. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable

from sslkit.plugin import Spec, hookimpl

KINDS = {
    "source": {
        "webdataset": "sslkit_shards.specs.webdataset:WebDataset",
        "hf": "sslkit_shards.specs.hf:HuggingFace",
    }
}
"""Family -> kind -> its class, which the registry imports when a spec names the kind."""


@hookimpl
def sslkit_specs() -> Iterable[type[Spec]]:
    """The sources of this package."""
    from sslkit_shards.specs.hf import HuggingFace
    from sslkit_shards.specs.webdataset import WebDataset

    return [WebDataset, HuggingFace]
