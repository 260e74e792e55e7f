"""From the predictions table to the numbers and pictures of the published protocol."""
