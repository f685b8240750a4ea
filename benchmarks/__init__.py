"""What a stored token costs here and elsewhere: ``make bench``, for docs/performance.md."""
