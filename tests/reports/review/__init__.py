"""Tests of the evidence of a review: pure, on hand-written histories."""
