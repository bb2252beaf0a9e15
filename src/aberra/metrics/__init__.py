"""How good a detector is: voxels, lesions and cases, streaming, with intervals."""
