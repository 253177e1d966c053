// Rows of boxes and of poses, and whether one row suppresses another.
#pragma once

#include "formulas.h"

namespace hrkit {

template <typename T>
struct BoxesSuppress {
  const T* boxes;          // (N,4) x1, y1, x2, y2
  const int64_t* classes;  // (N,), or null; boxes of different classes do not suppress each other
  T threshold;             // from floor_to

  HRKIT_INLINE bool operator()(int64_t i, int64_t j) const {
    if (classes != nullptr && classes[i] != classes[j]) return false;
    const T *a = boxes + 4 * i, *b = boxes + 4 * j;
    const T a_area = (a[2] - a[0]) * (a[3] - a[1]), b_area = (b[2] - b[0]) * (b[3] - b[1]);
    return iou(a[0], a[1], a[2], a[3], a_area, b[0], b[1], b[2], b[3], b_area) > threshold;
  }
};

struct PosesSuppress {
  const double* points;  // (N,K,2)
  const double* areas;   // (N,)
  const double* sigmas;  // (K,)
  int64_t joints;        // K
  double threshold;

  HRKIT_INLINE bool operator()(int64_t i, int64_t j) const {
    const double *a = points + 2 * joints * i, *b = points + 2 * joints * j;
    return alike(a, b, sigmas, joints, (areas[i] + areas[j]) / 2, threshold);
  }
};

}  // namespace hrkit
