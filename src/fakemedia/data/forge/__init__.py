"""Makes fake-media tasks with known families out of any folder of real photographs: one file a family."""
