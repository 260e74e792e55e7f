"""From the owners' folders to mixed batches."""
