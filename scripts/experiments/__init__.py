"""Published MLP systems as settings of mlpgpu: their reported results, the results here, and how far they improve."""
