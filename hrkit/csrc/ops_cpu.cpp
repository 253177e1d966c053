// The operators on the CPU.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <type_traits>
#include <vector>

#include "tensors.h"

namespace hrkit {
namespace {

constexpr int64_t kPairs = 256;  // pairs of poses that one thread compares at least

// Rows in falling order of their scores; equal scores keep their order, NaN is left out.
template <typename T>
std::vector<int64_t> by_falling_score(const T* scores, int64_t count) {
  std::vector<int64_t> rows;
  rows.reserve(count);
  for (int64_t row = 0; row < count; ++row) {
    if (!std::isnan(scores[row])) rows.push_back(row);
  }
  std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  return rows;
}

at::Tensor indices(const std::vector<int64_t>& rows) {
  return at::tensor(rows, at::TensorOptions().dtype(at::kLong));
}

// Coordinates as one array each, so that vector instructions compare one box with many.
template <typename T>
struct Columns {
  std::vector<T> x1, y1, x2, y2, area;

  Columns(const T* boxes, const std::vector<int64_t>& rows)
      : x1(rows.size()), y1(rows.size()), x2(rows.size()), y2(rows.size()), area(rows.size()) {
    for (size_t i = 0; i < rows.size(); ++i) {
      const T* box = boxes + 4 * rows[i];
      x1[i] = box[0], y1[i] = box[1], x2[i] = box[2], y2[i] = box[3];
      area[i] = (box[2] - box[0]) * (box[3] - box[1]);
    }
  }
};

// Those rows of `order`, best first, that no better kept row overlaps.
template <typename T>
std::vector<int64_t> suppressed(const T* boxes, const std::vector<int64_t>& order, double iou_threshold) {
  // marks as wide as coordinates let the compiler vectorise the loop
  using Mark = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  const Columns<T> sorted(boxes, order);
  const T threshold = floor_to<T>(iou_threshold);
  const int64_t count = static_cast<int64_t>(order.size());
  std::vector<Mark> gone(count, 0);
  std::vector<int64_t> kept;
  const T *x1 = sorted.x1.data(), *y1 = sorted.y1.data(), *x2 = sorted.x2.data(), *y2 = sorted.y2.data();
  const T* area = sorted.area.data();
  Mark* mark = gone.data();
  for (int64_t i = 0; i < count; ++i) {
    if (mark[i]) continue;
    kept.push_back(order[i]);
    const T ax1 = x1[i], ay1 = y1[i], ax2 = x2[i], ay2 = y2[i], a_area = area[i];
    for (int64_t j = i + 1; j < count; ++j) {
      mark[j] |= iou(ax1, ay1, ax2, ay2, a_area, x1[j], y1[j], x2[j], y2[j], area[j]) > threshold;
    }
  }
  return kept;
}

at::Tensor nms(const at::Tensor& boxes, const at::Tensor& scores, double iou_threshold) {
  return AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "hrkit::nms", [&] {
    const auto order = by_falling_score(scores.const_data_ptr<scalar_t>(), scores.numel());
    return indices(suppressed(boxes.const_data_ptr<scalar_t>(), order, iou_threshold));
  });
}

at::Tensor batched_nms(
    const at::Tensor& boxes, const at::Tensor& scores, const at::Tensor& idxs, double iou_threshold) {
  return AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "hrkit::batched_nms", [&] {
    const scalar_t* score = scores.const_data_ptr<scalar_t>();
    const int64_t* group = idxs.const_data_ptr<int64_t>();
    const auto order = by_falling_score(score, scores.numel());
    std::map<int64_t, std::vector<int64_t>> groups;
    for (int64_t row : order) groups[group[row]].push_back(row);
    std::vector<char> stays(scores.numel(), 0);
    for (const auto& one : groups) {
      for (int64_t row : suppressed(boxes.const_data_ptr<scalar_t>(), one.second, iou_threshold)) stays[row] = 1;
    }
    std::vector<int64_t> kept;
    for (int64_t row : order) {
      if (stays[row]) kept.push_back(row);
    }
    return indices(kept);
  });
}

at::Tensor oks_nms(
    const at::Tensor& keypoints,
    const at::Tensor& scores,
    const at::Tensor& areas,
    double threshold,
    const at::Tensor& sigmas) {
  const PosesSuppress suppresses = poses_suppress(keypoints, areas, sigmas, threshold);
  const auto order = by_falling_score(scores.const_data_ptr<double>(), scores.numel());
  const int64_t count = static_cast<int64_t>(order.size());
  std::vector<char> gone(count, 0);
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < count; ++i) {
    if (gone[i]) continue;
    kept.push_back(order[i]);
    at::parallel_for(i + 1, count, kPairs, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        if (!gone[j]) gone[j] = suppresses(order[i], order[j]);
      }
    });
  }
  return indices(kept);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrkit, CPU, m) {
  m.impl("nms", &nms);
  m.impl("batched_nms", &batched_nms);
  m.impl("oks_nms", &oks_nms);
}

}  // namespace hrkit
