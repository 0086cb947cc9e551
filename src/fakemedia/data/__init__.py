"""From folders of pictures to batches: sources, index, pixel store, batches, and the forge."""
