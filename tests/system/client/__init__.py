"""Tests of the agent client and the publisher."""
