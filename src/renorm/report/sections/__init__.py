"""Sections that pages are made of: of one run, of several side by side."""
