"""The report that a review of the decision rests on: evidence, claims, bounds, and the answer that follows."""
