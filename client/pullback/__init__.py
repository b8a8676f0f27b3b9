"""Pullback: a REST service for exact derivatives."""

__version__ = "0.1.0"
