"""Photo to vector: decode, detect, align, measure, encode. Read `embed.py` first."""
