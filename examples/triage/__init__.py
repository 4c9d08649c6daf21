"""A ticket that is read by a model and answered by another, with a refund in between."""
