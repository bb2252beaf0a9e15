"""What preparation refuses, and how it stops."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from aberra.cohort import Case
from aberra.errors import ConfigError, InputError
from aberra.prepare import Recipe, prepare_cohort, resample_to
from aberra.prepare.bias_field import BiasField
from aberra.prepare.brain_mask import BrainMask
from aberra.prepare.crop import Crop
from aberra.prepare.histogram_match import HistogramMatch
from aberra.prepare.normalise import Normalise
from aberra.prepare.register import Register
from aberra.prepare.resample import Resample
from aberra.volume import Volume


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Resample(spacing=[1, 1]), "three sizes"),
        (lambda: Resample(spacing=[1, 1, -1]), "a list with 0 or more in each place"),
        (lambda: Crop(shape=[8, 8]), "three edges"),
        (lambda: Crop(shape=[8, 8, 8], centre="msk"), "Did you mean 'mask'"),
        (lambda: Crop(shape=[0, 100_000, 100_000]), "16,384 or less"),
        (lambda: BiasField(shrink=0), "1 or more"),
        (lambda: BiasField(iterations=[]), "1 or more"),
        (lambda: BrainMask(method="srtip"), "Did you mean 'strip'"),
        (lambda: BrainMask(method="strip", fraction=1), "between 0 and 1"),
        (lambda: BrainMask(method="command", command='strip "{input} {output}'), "split into words"),
        (lambda: Normalise(method="zscor"), "Did you mean 'zscore'"),
        (lambda: Normalise(low=80, high=0), "upper end"),
        (lambda: Register(target="mni"), "Did you mean 'mni152'"),
        (lambda: HistogramMatch(points=1), "2 or more"),
    ],
)
def test_a_wrong_option_is_refused_when_the_recipe_is_built(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize("value", [-1000.0, 0.0, 1.0])
def test_n4_leaves_a_scan_without_contrast_as_it_is(value):
    volume = Volume(data=np.full((1, 12, 12, 12), value), affine=np.eye(4))
    np.testing.assert_array_equal(BiasField()(volume).data, volume.data)


def test_the_error_names_scan_and_step(tmp_path):
    path = tmp_path / "empty.nii.gz"
    Volume(data=np.zeros((1, 6, 6, 6)), affine=np.eye(4)).write(path)
    with pytest.raises(InputError, match=r"empty\.nii\.gz: brain-mask: empty foreground"):
        Recipe.from_config([{"name": "orient"}, {"name": "brain-mask"}])(Volume.read(path))


def test_a_command_may_answer_on_another_grid(tmp_path):
    """As FSL's and FreeSurfer's tools do: reoriented or conformed to 1 mm."""
    program = tmp_path / "strip.py"
    program.write_text(
        "import sys, nibabel as nib, numpy as np\n"
        "image = nib.as_closest_canonical(nib.load(sys.argv[1]))\n"
        "nib.save(nib.Nifti1Image((image.get_fdata() > 50).astype(np.uint8), image.affine), sys.argv[2])\n"
    )
    data = np.zeros((1, 8, 9, 10))
    data[0, 1:4, 2:7, 5:9] = 100
    affine = np.array([[0, 0, -1.0, 9], [-1.0, 0, 0, 5], [0, 1.0, 0, 0], [0, 0, 0, 1]])
    volume = Volume(data=data, affine=affine)
    found = BrainMask(method="command", command=f"{sys.executable} {program} {{input}} {{output}}")(volume)
    np.testing.assert_array_equal(found.mask, data[0] > 0)


@pytest.mark.parametrize("step", [1000.0, 150.0, 1e-3, 1e-9])
def test_a_spacing_that_no_scan_has_takes_no_memory_and_gives_no_empty_scan(step):
    """As a DICOM file or an array with a wrong affine brings it."""
    data = np.random.default_rng(0).random((1, 40, 48, 36))
    for shape in ((40, 48, 36), (1, 48, 36)):
        volume = Volume(data=data[:, : shape[0]], affine=np.diag([step, step, step, 1]))
        for spacing in ([1.5] * 3, [0, 0.02, 0.02]):
            try:
                found = Resample(spacing=spacing)(volume)
            except InputError as refused:
                assert "spacing" in str(refused)  # noqa: PT017 - either outcome is right
            else:
                assert 1e-3 * volume.data[0].size < found.data[0].size < 1e9
    with pytest.raises(InputError, match="would become"):
        Resample(spacing=[1.5] * 3)(Volume(data=data, affine=np.diag([step, step, step, 1])))


def test_a_thin_slab_may_become_one_slice():
    volume = Volume(data=np.random.default_rng(0).random((1, 10, 40, 40)), affine=np.diag([0.5, 1, 1, 1]))
    for far in (5, 1e6, 1e30):
        assert Resample(spacing=[far, 0, 0])(volume).shape == (1, 40, 40)


def test_a_scan_that_a_crop_would_blow_up_is_refused():
    volume = Volume(data=np.ones((1, 600, 2, 2)), affine=np.eye(4))
    with pytest.raises(InputError, match="padded"):
        Crop(shape=[0, 1000, 1000])(volume)


def test_interrupting_drops_the_queue(tmp_path, monkeypatch):
    """Ctrl-C while many cases wait: what runs may end, what waits is dropped."""
    paths = [tmp_path / f"{name}.nii.gz" for name in range(8)]
    for seed, path in enumerate(paths):
        Volume(data=np.random.default_rng(seed).random((1, 4, 4, 4)), affine=np.eye(4)).write(path)
    cases = [Case(case=path.name, patient=path.name, channels={"t1": path}) for path in paths]
    started, release = [], threading.Event()

    def step(volume):
        started.append(1)
        release.wait(5)
        return volume

    def interrupt(futures):
        del futures
        raise KeyboardInterrupt

    monkeypatch.setattr("aberra.prepare.cache.as_completed", interrupt)
    threading.Timer(0.3, release.set).start()
    with pytest.raises(KeyboardInterrupt):
        prepare_cohort(cases, Recipe([step], [{"name": "wait"}]), tmp_path / "c", channels=["t1"], workers=1)
    assert len(started) == 1


def test_histogram_match_reads_no_more_than_it_uses(monkeypatch):
    monkeypatch.setattr(HistogramMatch, "REFERENCES", 2)
    read = []

    def cohort():
        for seed in range(5):
            read.append(seed)
            yield Volume(data=np.random.default_rng(seed).random((1, 4, 4, 4)), affine=np.eye(4))

    HistogramMatch().fit(cohort())
    assert read == [0, 1]


def test_a_grid_that_the_machine_cannot_hold_is_refused_before_it_takes_memory():
    scan = Volume(data=np.ones((1, 4, 4, 4)), affine=np.eye(4))
    for step in (
        Resample(spacing=[1e-5, 1e-5, 1e-5]),
        Resample(spacing=[0, 0, 1e-308]),
        Crop(shape=[16384, 16384, 16384]),
    ):
        with pytest.raises(InputError, match="is the spacing in"):
            step(scan)


def test_a_grid_is_weighed_before_it_is_allocated():
    with pytest.raises(
        ConfigError, match=r"a grid of [\d ×]+ voxels would take [\d,]+ GiB, this machine has"
    ):
        resample_to(np.ones((4, 4, 4)), np.eye(4), np.diag([1e-5, 1e-5, 1e-5, 1]), (400_000,) * 3)
