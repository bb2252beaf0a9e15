"""Make a phantom with lesions, detect them with a shipped detector, and write the map."""

from pathlib import Path

from aberra import Cohort, Detector
from aberra.synthesis import write_cohort

if __name__ == "__main__":
    manifest = write_cohort("example-phantom", cases=1, lesions=1.0, spacing=1.5, seed=7)
    case = Cohort.read(manifest)[0]
    result = Detector.load("flair").detect(case.read(), case=case.case)
    result.map.write(Path("example-phantom") / "map.nii.gz")
    print(f"score {result.score:.3f}, p {result.p:.3f}, {len(result.components)} regions")
