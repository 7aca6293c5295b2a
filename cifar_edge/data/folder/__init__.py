"""A data set from a folder of photographs, one folder a class."""
