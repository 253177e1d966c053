// Suppression of boxes on the CPU. Coordinates are sorted into arrays of their own, so that one box meets all those
// after it in vector instructions.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <torch/library.h>

#include <map>
#include <type_traits>
#include <vector>

#include "formulas.h"
#include "order.h"
#include "rows.h"
#include "soft_cpu.h"

namespace hrkit {
namespace {

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

// The rows of `order`, best first, that no better one of them overlaps.
template <typename T>
std::vector<int64_t> suppressed(const T* boxes, const std::vector<int64_t>& order, double iou_threshold) {
  // a mark as wide as a coordinate lets compilers use one vector for both
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

std::tuple<at::Tensor, at::Tensor> soft_nms(
    const at::Tensor& boxes,
    const at::Tensor& scores,
    double iou_threshold,
    double sigma,
    double score_threshold,
    c10::string_view method) {
  return AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "hrkit::soft_nms", [&] {
    const BoxesLower<scalar_t> lowered_by{
        {boxes.const_data_ptr<scalar_t>()}, method == "linear", iou_threshold, sigma};
    const Picked picked = picked_softly(lowered_by, scores, score_threshold, scores.numel());
    return std::make_tuple(indices(picked.rows), at::tensor(picked.scores, at::kDouble).to(scores.scalar_type()));
  });
}

}  // namespace

TORCH_LIBRARY_IMPL(hrkit, CPU, m) {
  m.impl("nms", &nms);
  m.impl("batched_nms", &batched_nms);
  m.impl("soft_nms", &soft_nms);
}

}  // namespace hrkit
