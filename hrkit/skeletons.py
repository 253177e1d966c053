"""The skeletons of skeletons.toml: COCO (17 joints), MPII (16) and LSP (14)."""

from pathlib import Path

from hrkit.errors import UnknownNameError
from hrkit.files import read_toml
from hrkit.structures import Skeleton

SKELETONS = {name: Skeleton(name, **parts) for name, parts in read_toml(Path(__file__).with_suffix(".toml")).items()}
coco17, mpii16, lsp14 = (SKELETONS[name] for name in ("coco17", "mpii16", "lsp14"))


def get_skeleton(name: str) -> Skeleton:
    """The skeleton `name`. Raises `UnknownNameError` with the choices."""
    if name not in SKELETONS:
        raise UnknownNameError("skeleton", name, SKELETONS)
    return SKELETONS[name]


def skeleton_of(num_joints: int) -> Skeleton:
    """The default skeleton for a number of joints: COCO for 17, MPII for 16, LSP for 14, else unnamed joints."""
    for skeleton in (coco17, mpii16, lsp14):
        if len(skeleton) == num_joints:
            return skeleton
    names = [f"joint_{i}" for i in range(num_joints)]
    return Skeleton(f"joints{num_joints}", names, (), (), [0.05] * num_joints)
