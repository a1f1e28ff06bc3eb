"""Tests of the experiments of a review, in small."""
