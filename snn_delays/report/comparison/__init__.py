"""Runs beside each other: in numbers, as files, as a picture and as a page."""
