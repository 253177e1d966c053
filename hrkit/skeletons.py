"""The skeletons of COCO (17 joints), MPII (16) and LSP (14)."""

from hrkit.errors import UnknownNameError
from hrkit.structures import Skeleton

_SIDES = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_LIMBS = (
    *(("left_ankle", "left_knee"), ("left_knee", "left_hip"), ("right_ankle", "right_knee")),
    *(("right_knee", "right_hip"), ("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow")),
    *(("left_elbow", "left_wrist"), ("right_elbow", "right_wrist")),
)


def _pairs(*parts: str) -> list[tuple[str, str]]:
    return [(f"left_{part}", f"right_{part}") for part in parts]


coco17 = Skeleton(
    name="coco17",
    keypoint_names=("nose", *(f"{side}_{part}" for part in _SIDES for side in ("left", "right"))),
    edges=(
        *_LIMBS,
        *(("left_hip", "right_hip"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip")),
        *(("left_shoulder", "right_shoulder"), ("left_eye", "right_eye"), ("nose", "left_eye")),
        *(("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear")),
        *(("left_ear", "left_shoulder"), ("right_ear", "right_shoulder")),
    ),
    flip_pairs=_pairs(*_SIDES),
    # COCO's keypoint evaluation, cocodataset.org/#keypoints-eval
    sigmas=[0.026] + [s for s in (0.025, 0.035, 0.079, 0.072, 0.062, 0.107, 0.087, 0.089) for _ in range(2)],
)

mpii16 = Skeleton(
    name="mpii16",
    keypoint_names=(
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax"),
        *("upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder"),
        *("left_shoulder", "left_elbow", "left_wrist"),
    ),
    edges=(
        *_LIMBS,
        *(("left_hip", "pelvis"), ("right_hip", "pelvis"), ("pelvis", "thorax"), ("thorax", "upper_neck")),
        *(("upper_neck", "head_top"), ("thorax", "left_shoulder"), ("thorax", "right_shoulder")),
    ),
    flip_pairs=_pairs("shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
    # MPII publishes no sigmas; the limbs follow COCO, the rest MMPose (configs/_base_/datasets/mpii.py)
    sigmas=[
        *(0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.107, 0.079),
        *(0.026, 0.026, 0.062, 0.072, 0.079, 0.079, 0.072, 0.062),
    ],
)

lsp14 = Skeleton(
    name="lsp14",
    keypoint_names=(
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
        *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist"),
        *("neck", "head_top"),
    ),
    edges=(
        *_LIMBS,
        *(("left_hip", "right_hip"), ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip")),
        *(("left_shoulder", "neck"), ("right_shoulder", "neck"), ("neck", "head_top")),
    ),
    flip_pairs=_pairs("shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
    # the limbs follow COCO, neck and head top as in mpii16
    sigmas=[0.089, 0.087, 0.107, 0.107, 0.087, 0.089, 0.062, 0.072, 0.079, 0.079, 0.072, 0.062, 0.079, 0.026],
)

SKELETONS = {skeleton.name: skeleton for skeleton in (coco17, mpii16, lsp14)}


def get_skeleton(name: str) -> Skeleton:
    """The skeleton `name`. Raises `UnknownNameError` with the choices."""
    if name not in SKELETONS:
        raise UnknownNameError("skeleton", name, SKELETONS)
    return SKELETONS[name]


def skeleton_of(num_joints: int) -> Skeleton:
    """The default skeleton for a number of joints: COCO for 17, MPII for 16, LSP for 14, else unnamed joints."""
    for skeleton in SKELETONS.values():
        if len(skeleton) == num_joints:
            return skeleton
    names = [f"joint_{i}" for i in range(num_joints)]
    return Skeleton(f"joints{num_joints}", names, (), (), [0.05] * num_joints)
