"""A refund that a person approves: a plan with a review as a step and as a guard."""
