"""The weights that timm has for a name: its own download, cache and errors."""

from __future__ import annotations

from timm.models import load_pretrained

from sslkit.plugin import CheckpointError, reason_of
from sslkit_backbones.public_weights.weight_files import Contents
from sslkit_backbones.public_weights.weight_layout import State
from sslkit_backbones.public_weights.weights_loading import Naming, converted
from sslkit_backbones.public_weights.weights_report import Loaded
from sslkit_backbones.timm_types import TimmModule

CHANNELS = 3
"""Of weights as `converted` answers: it has changed their channels already."""


def load_own(net: TimmModule, name: str) -> Loaded:
    """Load into `net` what timm has for `name`, which it may download.

    Raises:
        CheckpointError: timm has none, cannot get them, or they are of another network.
    """
    config = net.pretrained_cfg
    title = f"timm's `{name}{'.' * bool(config.get('tag'))}{config.get('tag', '')}`"
    naming = Naming(f"backbone.pretrained: {title}", title, name)
    reports: list[Loaded] = []

    def convert(state: State, net: TimmModule) -> State:
        arrays, report = converted(Contents(state, {}), net, naming)
        reports.append(report)
        return arrays

    try:
        load_pretrained(net, num_classes=config["num_classes"], in_chans=CHANNELS, filter_fn=convert)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{naming.place}: timm cannot load them: {reason_of(error)}") from None
    arrays = len(net.state_dict())  # of JAX, which timm reads by itself
    whole = Loaded(title, "JAX's", "", arrays, (), (), (), getattr(net, "pos_embed", None))
    return reports[0] if reports else whole
