// Object keypoint similarity on the CPU, and suppression of poses by it; double precision throughout.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <vector>

#include "order.h"
#include "rows.h"
#include "soft_cpu.h"

namespace hrkit {
namespace {

constexpr int64_t kPairs = 256;  // worth a thread of their own

Poses rows_of(const at::Tensor& keypoints, const at::Tensor& areas, const at::Tensor& sigmas) {
  return {
      keypoints.const_data_ptr<double>(), areas.const_data_ptr<double>(), sigmas.const_data_ptr<double>(),
      keypoints.size(1)};
}

at::Tensor oks(
    const at::Tensor& keypoints,
    const at::Tensor& others,
    const at::Tensor& areas,
    const at::Tensor& other_areas,
    const at::Tensor& sigmas) {
  const Poses ours = rows_of(keypoints, areas, sigmas), theirs = rows_of(others, other_areas, sigmas);
  const int64_t count = keypoints.size(0), other_count = others.size(0);
  at::Tensor result = at::empty({count, other_count}, keypoints.options());
  double* out = result.mutable_data_ptr<double>();
  at::parallel_for(0, count * other_count, kPairs, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) out[pair] = oks_of(ours, pair / other_count, theirs, pair % other_count);
  });
  return result;
}

at::Tensor oks_nms(
    const at::Tensor& keypoints,
    const at::Tensor& scores,
    const at::Tensor& areas,
    double threshold,
    const at::Tensor& sigmas) {
  const PosesSuppress suppresses{rows_of(keypoints, areas, sigmas), threshold};
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

at::Tensor soft_oks_nms(
    const at::Tensor& keypoints,
    const at::Tensor& scores,
    const at::Tensor& areas,
    double threshold,
    const at::Tensor& sigmas,
    int64_t max_poses) {
  const PosesLower lowered_by{rows_of(keypoints, areas, sigmas), threshold};
  return indices(picked_softly(lowered_by, scores, kAnyScore, max_poses).rows);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrkit, CPU, m) {
  m.impl("oks", &oks);
  m.impl("oks_nms", &oks_nms);
  m.impl("soft_oks_nms", &soft_oks_nms);
}

}  // namespace hrkit
