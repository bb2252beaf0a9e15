"""Behind an archive: new series are analysed, and what is found is sent back as DICOM objects."""
