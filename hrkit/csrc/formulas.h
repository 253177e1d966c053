// The definitions of overlap that all kernels share.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#ifdef __CUDACC__
#define HRKIT_INLINE __host__ __device__ __forceinline__
#else
#define HRKIT_INLINE inline
#endif

namespace hrkit {

template <typename T>
HRKIT_INLINE T smaller(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
HRKIT_INLINE T larger(T a, T b) {
  return a < b ? b : a;
}

template <typename T>
HRKIT_INLINE bool is_nan(T value) {
  return value != value;
}

// Intersection over union of two boxes with known areas; NaN, which is above no threshold, if neither has any area.
template <typename T>
HRKIT_INLINE T iou(T ax1, T ay1, T ax2, T ay2, T a_area, T bx1, T by1, T bx2, T by2, T b_area) {
  const T width = larger(T(0), smaller(ax2, bx2) - larger(ax1, bx1));
  const T height = larger(T(0), smaller(ay2, by2) - larger(ay1, by1));
  const T shared = width * height;
  return shared / (a_area + b_area - shared);
}

// The largest T that is not above the threshold. A value of type T is above either both or none.
template <typename T>
inline T floor_to(double threshold) {
  T rounded = static_cast<T>(threshold);
  return rounded > threshold ? std::nextafter(rounded, -std::numeric_limits<T>::infinity()) : rounded;
}

// The similarity of one joint in two poses. The official code also adds numpy's spacing(1) to the area.
HRKIT_INLINE double joint_similarity(const double* a, const double* b, double sigma, double area) {
  const double dx = a[0] - b[0], dy = a[1] - b[1], spread = 2 * sigma;
  return std::exp(-(dx * dx + dy * dy) / (spread * spread) / (area + 0x1p-52) / 2);
}

// Whether the object keypoint similarity of two poses, the mean over their joints, is above the threshold. The loop ends
// as soon as the remaining joints cannot lift the mean above it.
HRKIT_INLINE bool alike(
    const double* a, const double* b, const double* sigmas, int64_t joints, double area, double threshold) {
  const double all = static_cast<double>(joints);
  double sum = 0;
  for (int64_t k = 0; k < joints; ++k) {
    sum += joint_similarity(a + 2 * k, b + 2 * k, sigmas[k], area);
    // the margin keeps rounding errors from ending the loop early
    if (sum + (all - 1 - static_cast<double>(k)) < (threshold - 1e-9) * all) return false;
  }
  return sum / all > threshold;
}

}  // namespace hrkit
