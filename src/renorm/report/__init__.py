"""Tables, plots and the page of a run: the only part that imports plotting."""
