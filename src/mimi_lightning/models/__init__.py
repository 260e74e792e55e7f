"""Quality regressors and score mappers."""
