"""Floor 7: a schedule, a fit or a model in, a page or a picture out."""
