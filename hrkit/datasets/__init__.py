"""Datasets of people with keypoints; none is registered yet."""
