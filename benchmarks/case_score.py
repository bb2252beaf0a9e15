"""Does the case score of a shipped detector tell drawn cases with lesions from healthy ones?

Heads that were not trained on.

python benchmarks/case_score.py --anatomy DIR [--cases 48]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from shipped import average_precision

PROFILES = ("ms", "wmh", "tumour", "stroke")
SEED = 11
SPACING = 1.5
LARGE_ML = 1.0


def main() -> None:
    """Draw the cases, healthy ones between them, and print AUROC of the case score and mean voxel
    AP.
    """
    import torch
    from sklearn.metrics import roc_auc_score

    from aberra.detector import Detector
    from aberra.synthesis.anatomy import Anatomy, held_out
    from aberra.synthesis.heads import draw_head, render_head

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anatomy", type=Path, required=True, help="folder of label maps")
    parser.add_argument("--cases", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    detector = Detector.load("flair")
    heads = [Anatomy.read(path) for path in held_out(options.anatomy)]
    scores, volumes, precision = [], [], []
    for number in range(options.cases):
        profiles = [PROFILES[number // 2 % len(PROFILES)]] if number % 2 else []
        drawn = draw_head(np.random.default_rng([SEED, number]), "flair", profiles)
        scan = render_head(drawn, heads[3 * number % len(heads)], SPACING)
        if profiles and not scan.lesion.any():
            continue
        found = detector.analyse(scan)
        scores.append(found.score)
        volumes.append(scan.lesion.sum() * scan.voxel_mm3 / 1000)
        if profiles:
            precision.append(average_precision(found.map[found.inside], scan.lesion[found.inside]))
    score, volume = np.array(scores), np.array(volumes)
    clear = (volume == 0) | (volume > LARGE_ML)
    print(f"{len(score)} cases, {(volume > 0).sum()} with lesions")
    print(f"AUROC {roc_auc_score(volume > 0, score):.3f}")
    print(f"AUROC, lesions above {LARGE_ML:g} ml {roc_auc_score(volume[clear] > 0, score[clear]):.3f}")
    print(f"mean voxel AP {np.mean(precision):.3f}")


if __name__ == "__main__":
    main()
