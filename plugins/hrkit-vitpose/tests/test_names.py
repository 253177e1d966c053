"""Files of other projects under the names of this network."""

from __future__ import annotations

import torch
from hrkit_vitpose.names import renamed
from other_names import mmposes
from small_networks import pose_network


def test_every_family_of_names() -> None:
    network = pose_network(simple=False)
    state = network.state_dict()
    ours = renamed(state)
    assert {name for name in ours if name.startswith("backbone")} == {n for n in state if n.startswith("backbone")}
    assert {name.split(".")[1] for name in ours if name.startswith("head")} == {"deconv_layers", "final_layer"}
    assert renamed(ours).keys() == ours.keys()

    for authors in (True, False):
        theirs = mmposes(state, authors)
        assert not theirs.keys() & {name for name in state if "layer" in name}
        if not authors:
            positions = theirs["backbone.pos_embed"]
            theirs["backbone.pos_embed"] = positions[:, 1:] + positions[:, :1]
        back = renamed(theirs)
        assert back.keys() == ours.keys()
        positions = "backbone.embeddings.position_embeddings"
        assert [name for name in ours if name != positions and not torch.equal(back[name], ours[name])] == []
        added = [one[positions][:, 1:] + one[positions][:, :1] for one in (ours, back)]
        torch.testing.assert_close(*added)
        assert back[positions].shape == ours[positions].shape
