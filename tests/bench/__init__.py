"""Figures that the documentation names, measured with real components."""
