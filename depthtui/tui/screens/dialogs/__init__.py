"""Screens that ask one question and close."""
