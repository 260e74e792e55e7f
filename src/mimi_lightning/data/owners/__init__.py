"""One reader a dataset: from the folder as its owner distributes it to the annotations table."""
