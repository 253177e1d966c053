"""Grouping straight from its definition: one person, joint and cell after the other. Slow and easy to check."""

from __future__ import annotations

import numpy as np
from munkres import Munkres


def plain_group(heatmaps, tags, order, *, max_people=30, threshold=0.1, tag_threshold=1.0, adjust=True, refine=True):
    """Heatmaps (K,H,W) and tags (T,K,H,W) -> a list of people: points (K,2), scores (K,) and the person's score."""
    people = []
    for joint in order:
        peaks = []
        for y, x in zip(*np.nonzero(heatmaps[joint] > threshold), strict=True):
            window = heatmaps[joint, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            if heatmaps[joint, y, x] == window.max():
                peaks.append((float(heatmaps[joint, y, x]), int(y), int(x)))
        peaks = sorted(peaks, key=lambda peak: -peak[0])[:max_people]
        embeddings = [tags[:, joint, y, x].astype(float) for _, y, x in peaks]
        groups = people[:max_people]
        taken = {}
        if groups and peaks:
            means = [np.mean(person["tags"], axis=0) for person in groups]
            apart = np.array([[np.sqrt(((tag - mean) ** 2).sum()) for mean in means] for tag in embeddings])
            cost = 100 * np.round(apart) - np.array([[peak[0]] for peak in peaks])
            spare = np.full((len(peaks), max(0, len(peaks) - len(groups))), 1e10)
            for row, column in Munkres().compute(np.concatenate([cost, spare], axis=1).tolist()):
                if column < len(groups) and apart[row, column] < tag_threshold:
                    taken[row] = groups[column]
        for row, ((score, y, x), tag) in enumerate(zip(peaks, embeddings, strict=True)):
            if row not in taken:
                taken[row] = {"tags": [], "joints": {}}
                people.append(taken[row])
            taken[row]["tags"].append(tag)
            taken[row]["joints"][joint] = (score, y, x)
    return [_finished(person, heatmaps, tags, adjust, refine) for person in people]


def _finished(person, heatmaps, tags, adjust, refine):
    joints, height, width = heatmaps.shape
    points, scores = np.zeros((joints, 2)), np.zeros(joints)
    for joint, (score, y, x) in person["joints"].items():
        points[joint] = quarter(heatmaps[joint], y, x) if adjust else (x, y)
        scores[joint] = score
    mean_score = scores.mean()
    if refine:
        mean = np.mean(person["tags"], axis=0).astype(np.float32)
        for joint in range(joints):
            if joint in person["joints"]:
                continue
            apart = np.sqrt(((tags[:, joint] - mean[:, None, None]) ** 2).sum(0))
            y, x = np.unravel_index(np.argmax(heatmaps[joint] - np.round(apart)), (height, width))
            if heatmaps[joint, y, x] > 0:
                points[joint], scores[joint] = quarter(heatmaps[joint], y, x), heatmaps[joint, y, x]
    return points, scores, mean_score


def quarter(heatmap, y, x):
    """The middle of a cell, moved a quarter cell towards the higher neighbour along each axis."""
    height, width = heatmap.shape
    right, left = heatmap[y, min(x + 1, width - 1)], heatmap[y, max(x - 1, 0)]
    below, above = heatmap[min(y + 1, height - 1), x], heatmap[max(y - 1, 0), x]
    return x + 0.5 + (0.25 if right > left else -0.25), y + 0.5 + (0.25 if below > above else -0.25)
