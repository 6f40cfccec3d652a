"""Published MLP systems as settings of mlpgpu: what they reported, what comes out here, and what more can be had."""
