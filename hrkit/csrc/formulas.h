// What overlap means, once, for every kernel on every device.
#pragma once

#include <cmath>

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

// Intersection over union of two boxes whose areas are known; NaN, which is above no threshold, where neither has any.
template <typename T>
HRKIT_INLINE T iou(T ax1, T ay1, T ax2, T ay2, T a_area, T bx1, T by1, T bx2, T by2, T b_area) {
  const T width = larger(T(0), smaller(ax2, bx2) - larger(ax1, bx1));
  const T height = larger(T(0), smaller(ay2, by2) - larger(ay1, by1));
  const T shared = width * height;
  return shared / (a_area + b_area - shared);
}

// The largest T that is not above the threshold: what is above the one is above the other.
template <typename T>
inline T floor_to(double threshold) {
  T rounded = static_cast<T>(threshold);
  return rounded > threshold ? std::nextafter(rounded, -INFINITY) : rounded;
}

}  // namespace hrkit
