"""Deployed models that follow the images they are given."""
