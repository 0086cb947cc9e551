"""Score picture files: find them, choose crops, compute P(fake) and verdicts, draw saliency, export detectors."""
