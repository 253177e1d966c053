// Rows of boxes and of poses: whether one suppresses another, and by how much it lowers the other's score.
#pragma once

#include "formulas.h"

namespace hrkit {

// (N,4) x1, y1, x2, y2.
template <typename T>
struct Boxes {
  const T* corners;

  HRKIT_INLINE T overlap(int64_t i, int64_t j) const {
    const T *a = corners + 4 * i, *b = corners + 4 * j;
    const T a_area = (a[2] - a[0]) * (a[3] - a[1]), b_area = (b[2] - b[0]) * (b[3] - b[1]);
    return iou(a[0], a[1], a[2], a[3], a_area, b[0], b[1], b[2], b[3], b_area);
  }
};

template <typename T>
struct BoxesSuppress {
  Boxes<T> boxes;
  const int64_t* classes;  // null where there are none; boxes of different classes do not meet
  T threshold;             // of floor_to

  HRKIT_INLINE bool operator()(int64_t i, int64_t j) const {
    return (classes == nullptr || classes[i] == classes[j]) && boxes.overlap(i, j) > threshold;
  }
};

// What Soft-NMS multiplies the score of box j with when box i is picked (Bodla et al., ICCV 2017).
template <typename T>
struct BoxesLower {
  Boxes<T> boxes;
  bool linear;
  double threshold, sigma;

  HRKIT_INLINE double operator()(int64_t i, int64_t j) const {
    const double overlap = boxes.overlap(i, j);
    if (overlap == 0 || is_nan(overlap)) return 1;
    if (linear) return overlap > threshold ? 1 - overlap : 1;
    return std::exp(-overlap * overlap / sigma);
  }
};

struct Poses {
  const double* points;  // (N,K,2)
  const double* areas;   // (N,)
  const double* sigmas;  // (K,)
  int64_t joints;

  HRKIT_INLINE const double* row(int64_t i) const { return points + 2 * joints * i; }
};

// Object keypoint similarity of two rows; the scale of a pair is the mean of its areas.
HRKIT_INLINE double oks_of(const Poses& ours, int64_t i, const Poses& theirs, int64_t j) {
  return similarity(ours.row(i), theirs.row(j), ours.sigmas, ours.joints, (ours.areas[i] + theirs.areas[j]) / 2);
}

struct PosesSuppress {
  Poses poses;
  double threshold;

  HRKIT_INLINE bool operator()(int64_t i, int64_t j) const {
    const double area = (poses.areas[i] + poses.areas[j]) / 2;
    return alike(poses.row(i), poses.row(j), poses.sigmas, poses.joints, area, threshold);
  }
};

// As for boxes, with OKS for IoU.
struct PosesLower {
  Poses poses;
  double threshold;

  HRKIT_INLINE double operator()(int64_t i, int64_t j) const {
    const double same = oks_of(poses, i, poses, j);
    return is_nan(same) ? 1 : std::exp(-same * same / threshold);
  }
};

}  // namespace hrkit
