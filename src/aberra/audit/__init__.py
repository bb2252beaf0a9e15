"""Lesion or scanner? A shift score that overlooks lesions, and how far the two are entangled."""
