"""Speed, measured as ratios against direct calls in the same run: `python -m bench`."""
