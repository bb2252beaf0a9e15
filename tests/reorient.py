"""Scans as other programs would have written them."""

from __future__ import annotations

import nibabel as nib
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform


def reorient(path, codes="PSL"):
    """Write a NIfTI again with its axes in another order and direction; every voxel stays where it
    is in the world.
    """
    image = nib.load(path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes)))
    turned = image.as_reoriented(turn)
    nib.save(nib.Nifti1Image(turned.get_fdata(), turned.affine), path)
    return path
