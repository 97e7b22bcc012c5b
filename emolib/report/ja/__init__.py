"""The reports in Japanese: words and tables only."""
