"""Floor 7: table, fit and model put together: the path shared by the estimators and the command line."""
