"""What holds for all tests."""

from hypothesis import settings

settings.register_profile("fakemedia", deadline=None)  # Wall time depends on what else the machine does.
settings.load_profile("fakemedia")
