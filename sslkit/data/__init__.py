"""From sources to batches: order, decoding, crops."""
