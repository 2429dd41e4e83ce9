"""The pictures and tables of the lessons."""
