"""Image folders: datasets on disk, one folder of images a class."""
