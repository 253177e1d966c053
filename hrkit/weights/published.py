"""The published weights that hrkit's own networks load, as data.

The entries of MMPose's files are named `<model>-<dataset>-<height>x<width>[-<variant>]`. The variants `dark` and `udp`
also name the codec; `aic` was trained on AI Challenger and COCO. The figures are from MMPose's model zoo, on COCO
val2017 with a person detector and on MPII val. The tables leave out files that these networks cannot load (LiteHRNet,
the UDP model with offset channels, the COCO-AIC model with 19 joints) and ResNet-101 384x288, whose published address
gives the 256x192 file.
"""

from __future__ import annotations

import re

from hrkit.weights.entry import WeightsEntry

_MMPOSE = "https://download.openmmlab.com/mmpose"
_TORCHVISION = "https://download.pytorch.org/models"
_GOOGLE_DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"

_COCO_METRICS = ("AP", "AP50", "AP75", "AR", "AR50")
_MPII_METRICS = ("PCKh", "PCKh@0.1")
_OFFICIAL_COCO_METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")

_DEFAULT_SIZES = {"coco": "256x192", "mpii": "256x256"}
_OTHER_DEFAULTS = {("hrnet_w48", "coco"): "384x288"}

# metrics, entry name, file name without .pth; the file name holds the first 8 digits of its sha256
_COCO_ROWS = """
.746 .904 .819 .799 .942 hrnet_w32-coco-256x192            hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909
.760 .906 .830 .810 .943 hrnet_w32-coco-384x288            hrnet-w32_8xb64-210e_coco-384x288-ca5956af_20220909
.756 .907 .825 .806 .942 hrnet_w48-coco-256x192            hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913
.767 .910 .831 .816 .946 hrnet_w48-coco-384x288            hrnet-w48_8xb32-210e_coco-384x288-c161b7de_20220915
.757 .907 .829 .809 .944 hrnet_w32-coco-256x192-aic        hrnet-w32_8xb64-210e_coco-aic-256x192-merge-b05435b9_20221025
.749 .907 .822 .802 .946 hrnet_w32-coco-256x192-fp16       hrnet-w32_fp16-8xb64-210e_coco-256x192-f1e84e3b_20220914
.757 .907 .825 .807 .943 hrnet_w32-coco-256x192-dark       hrnet-w32_dark-8xb64-210e_coco-256x192-0e00bf12_20220914
.766 .907 .829 .815 .942 hrnet_w32-coco-384x288-dark       hrnet-w32_dark-8xb64-210e_coco-384x288-9bab4c9b_20220917
.764 .907 .831 .814 .942 hrnet_w48-coco-256x192-dark       hrnet-w48_dark-8xb32-210e_coco-256x192-e1ebdd6f_20220913
.772 .911 .833 .821 .948 hrnet_w48-coco-384x288-dark       hrnet-w48_dark-8xb32-210e_coco-384x288-39c3c381_20220916
.762 .907 .829 .810 .942 hrnet_w32-coco-256x192-udp        hrnet-w32_udp-8xb64-210e_coco-256x192-73ede547_20220914
.768 .909 .832 .815 .945 hrnet_w32-coco-384x288-udp        hrnet-w32_udp-8xb64-210e_coco-384x288-9a3f7c85_20220914
.768 .908 .833 .817 .945 hrnet_w48-coco-256x192-udp        hrnet-w48_udp-8xb32-210e_coco-256x192-3feaef8f_20220913
.773 .911 .836 .821 .946 hrnet_w48-coco-384x288-udp        hrnet-w48_udp-8xb32-210e_coco-384x288-70d7ab01_20220913
.718 .898 .796 .774 .934 pose_resnet_50-coco-256x192       res50_8xb64-210e_coco-256x192-04af38ce_20220923
.731 .900 .799 .782 .937 pose_resnet_50-coco-384x288       res50_8xb64-210e_coco-384x288-7b8db90e_20220923
.728 .904 .809 .783 .942 pose_resnet_101-coco-256x192      res101_8xb64-210e_coco-256x192-065d3625_20220926
.736 .904 .818 .791 .942 pose_resnet_152-coco-256x192      res152_8xb32-210e_coco-256x192-0345f330_20220928
.750 .908 .821 .800 .942 pose_resnet_152-coco-384x288      res152_8xb32-210e_coco-384x288-7fbb906f_20220927
.716 .898 .798 .772 .937 pose_resnet_50-coco-256x192-fp16  res50_fp16-8xb64-210e_coco-256x192-463da051_20220927
.724 .897 .797 .777 .934 pose_resnet_50-coco-256x192-dark  res50_dark-8xb64-210e_coco-256x192-c129dcb6_20220926
.735 .902 .801 .786 .938 pose_resnet_50-coco-384x288-dark  res50_dark-8xb64-210e_coco-384x288-8b90b538_20220926
.733 .900 .810 .786 .938 pose_resnet_101-coco-256x192-dark res101_dark-8xb64-210e_coco-256x192-528ec248_20220926
.749 .905 .818 .799 .940 pose_resnet_101-coco-384x288-dark res101_dark-8xb64-210e_coco-384x288-487d40a4_20220926
.743 .906 .819 .796 .943 pose_resnet_152-coco-256x192-dark res152_dark-8xb32-210e_coco-256x192-f754df5f_20221031
.757 .907 .825 .805 .943 pose_resnet_152-coco-384x288-dark res152_dark-8xb32-210e_coco-384x288-329f8454_20221031
"""

_COCO_AUGMENTATION_ROWS = """
.753 .908 .822 .805 .944 hrnet_w32-coco-256x192-coarsedropout hrnet_w32_coco_256x192_coarsedropout-0f16a0ce_20210320
.752 .906 .825 .804 .943 hrnet_w32-coco-256x192-gridmask      hrnet_w32_coco_256x192_gridmask-868180df_20210320
.754 .908 .825 .805 .943 hrnet_w32-coco-256x192-photometric   hrnet_w32_coco_256x192_photometric-308cf591_20210320
"""

_MPII_HRNET_ROWS = """
.900 .334 hrnet_w32-mpii-256x256      hrnet_w32_mpii_256x256-6c4f923f_20200812
.901 .337 hrnet_w48-mpii-256x256      hrnet_w48_mpii_256x256-92cab7bd_20200812
.904 .354 hrnet_w32-mpii-256x256-dark hrnet_w32_mpii_256x256_dark-f1601c5b_20200927
.905 .360 hrnet_w48-mpii-256x256-dark hrnet_w48_mpii_256x256_dark-0decd39f_20200927
"""

_MPII_RESNET_ROWS = """
.882 .286 pose_resnet_50-mpii-256x256  res50_mpii_256x256-418ffc88_20200812
.888 .290 pose_resnet_101-mpii-256x256 res101_mpii_256x256-416f5d71_20200812
.889 .303 pose_resnet_152-mpii-256x256 res152_mpii_256x256-3ecba29d_20200812
"""

_IMAGENET_ROWS = (
    ("hrnet_w32", f"{_MMPOSE}/pretrain_models/hrnet_w32-36af842e.pth"),
    ("hrnet_w48", f"{_MMPOSE}/pretrain_models/hrnet_w48-8ef0771d.pth"),
    ("pose_resnet_18", f"{_TORCHVISION}/resnet18-f37072fd.pth"),
    ("pose_resnet_34", f"{_TORCHVISION}/resnet34-b627a593.pth"),
    ("pose_resnet_50", f"{_TORCHVISION}/resnet50-19c8e357.pth"),
    ("pose_resnet_101", f"{_TORCHVISION}/resnet101-5d3b4d8f.pth"),
    ("pose_resnet_152", f"{_TORCHVISION}/resnet152-b121ed2d.pth"),
)


def published_entries() -> list[WeightsEntry]:
    """Every entry of hrkit itself; of one model, the plain ones come first."""
    return [
        *_mmpose(_COCO_ROWS, f"{_MMPOSE}/v1/body_2d_keypoint/topdown_heatmap/coco/td-hm_", _COCO_METRICS),
        *_mmpose(_COCO_AUGMENTATION_ROWS, f"{_MMPOSE}/top_down/augmentation/", _COCO_METRICS),
        *_mmpose(_MPII_HRNET_ROWS, f"{_MMPOSE}/top_down/hrnet/", _MPII_METRICS),
        *_mmpose(_MPII_RESNET_ROWS, f"{_MMPOSE}/top_down/resnet/", _MPII_METRICS),
        *_official(),
        *imagenet_entries(),
        *_darknet(),
    ]


def _mmpose(rows: str, address: str, metric_names: tuple[str, ...]) -> list[WeightsEntry]:
    """The entries of a table; each file is at `address` + its file name."""
    entries = []
    for row in rows.strip().splitlines():
        *metrics, name, file = row.split()
        model, dataset, size, *variants = name.split("-")
        height, width = map(int, size.split("x"))
        variant = variants[0] if variants else None
        entries.append(
            WeightsEntry(
                name,
                model,
                url=f"{address}{file}.pth",
                checksum=f"sha256:{_sha256_prefix(file)}",
                codec=variant if variant in ("dark", "udp") else "msra",
                sigma=3.0 if height == 384 else 2.0,
                skeleton={"coco": "coco17", "mpii": "mpii16"}[dataset],
                input_size=(height, width),
                metrics=dict(zip(metric_names, map(float, metrics), strict=True)),
                licence="Apache-2.0",
                source="MMPose",
                default=not variant and size == _OTHER_DEFAULTS.get((model, dataset), _DEFAULT_SIZES[dataset]),
            )
        )
    return entries


def _official() -> list[WeightsEntry]:
    """The files of HRNet's authors, who published no checksums."""
    coco_w48 = (0.763, 0.908, 0.829, 0.723, 0.834, 0.812, 0.942, 0.871, 0.767, 0.876)
    coco_w32 = (0.744, 0.905, 0.819, 0.708, 0.810, 0.798, 0.942, 0.865, 0.757, 0.858)
    return [
        WeightsEntry(
            "official-hrnet_w48-coco-384x288",
            "hrnet_w48",
            url=_GOOGLE_DRIVE.format("1UoJhTtjHNByZSm96W3yFTfU5upJnsKiS"),
            sigma=3.0,
            input_size=(384, 288),
            metrics=dict(zip(_OFFICIAL_COCO_METRICS, coco_w48, strict=True)),
            licence="MIT",
            source="HRNet",
        ),
        WeightsEntry(
            "official-hrnet_w32-coco-256x192",
            "hrnet_w32",
            url=_GOOGLE_DRIVE.format("1zYC7go9EV0XaSlSBjMaiyE_4TcHc_S38"),
            metrics=dict(zip(_OFFICIAL_COCO_METRICS, coco_w32, strict=True)),
            licence="MIT",
            source="HRNet",
        ),
        WeightsEntry(
            "official-hrnet_w32-mpii-256x256",
            "hrnet_w32",
            url=_GOOGLE_DRIVE.format("1_wn2ifmoQprBrFvUCDedjPON4Y6jsN-v"),
            skeleton="mpii16",
            input_size=(256, 256),
            metrics=dict(zip(_MPII_METRICS, (0.903, 0.377), strict=True)),
            licence="MIT",
            source="HRNet",
        ),
    ]


def imagenet_entries() -> list[WeightsEntry]:
    """Classification weights to start training a backbone with."""
    return [
        WeightsEntry(
            f"{model}-imagenet",
            model,
            kind="backbone",
            url=url,
            checksum=f"sha256:{_sha256_prefix(url)}",
            input_size=(224, 224),
            licence="MIT" if model.startswith("hrnet") else "BSD-3-Clause",
            source="HRNet" if model.startswith("hrnet") else "torchvision",
            default=True,
        )
        for model, url in _IMAGENET_ROWS
    ]


def _darknet() -> list[WeightsEntry]:
    """Darknet's own YOLOv3 files; the sha1 of the large one is from OpenCV's samples."""
    tiny_sha256 = "dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c"
    return [
        _yolov3("yolov3", "yolov3", 248_007_048, "sha1:520878f12e97cf820529daea502acca380f1cb8e"),
        _yolov3("yolov3_tiny", "yolov3-tiny", 35_434_956, f"sha256:{tiny_sha256}"),
    ]


def _yolov3(model: str, file: str, size: int, checksum: str) -> WeightsEntry:
    return WeightsEntry(
        model,
        model,
        kind="detector",
        url=f"https://pjreddie.com/media/files/{file}.weights",
        checksum=checksum,
        size=size,
        input_size=(416, 416),
        mean=(0, 0, 0),
        std=(1, 1, 1),
        licence="MIT or WTFPL",
        source="Darknet",
        default=True,
    )


def _sha256_prefix(file: str) -> str:
    """The hexadecimal digits at the end of a file name, before a date and `.pth`."""
    return re.findall(r"-([0-9a-f]{8})(?:_\d{8})?(?:\.pth)?$", file)[0]
