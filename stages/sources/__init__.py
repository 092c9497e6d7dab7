"""Where videos come from: folders, data sets on disk, generated ones."""
