"""Images of any source, packed into tar shards with checksums."""
