// The operators on CUDA devices: rows are sorted by torch, the kernels of nms_cuda.cu run on the current stream, and how
// many rows are kept is the only number that the host waits for.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sort.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "bitmask.h"
#include "kernels.h"
#include "soft.h"

namespace hrkit {
namespace {

at::Tensor room(int64_t length, at::ScalarType type, const at::Tensor& like) {
  return at::empty({length}, like.options().dtype(type));
}

uint64_t* words_in(const at::Tensor& room) {
  return reinterpret_cast<uint64_t*>(room.mutable_data_ptr<int64_t>());
}

// Scores from the highest, NaN before all, and the rows they came from; equal scores in order.
struct Falling {
  at::Tensor scores, rows;

  explicit Falling(const at::Tensor& given) {
    std::tie(scores, rows) = at::sort(given, /*stable=*/true, /*dim=*/0, /*descending=*/true);
  }

  at::Tensor of(const at::Tensor& values) const { return values.index_select(0, rows); }
};

template <typename T, typename Suppress>
at::Tensor kept(const Falling& falling, const Suppress& suppresses) {
  const int64_t rows = falling.rows.numel(), words = words_of(rows);
  const at::Tensor kept = room(rows, at::kLong, falling.rows), count = room(1, at::kLong, kept);
  if (rows == 0) return kept;
  const at::Tensor mask = room(rows * words, at::kLong, kept), gone = room(words, at::kLong, kept);
  start_choosing(
      suppresses, falling.scores.const_data_ptr<T>(), falling.rows.const_data_ptr<int64_t>(), rows, words_in(mask),
      words_in(gone), kept.mutable_data_ptr<int64_t>(), count.mutable_data_ptr<int64_t>(),
      c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return kept.narrow(0, 0, count.item<int64_t>());
}

template <typename T, typename Lower>
std::tuple<at::Tensor, at::Tensor> picked(
    const Lower& lowered_by, const at::Tensor& scores, double least, int64_t most) {
  const int64_t rows = scores.numel();
  const at::Tensor kept = room(rows, at::kLong, scores), kept_scores = room(rows, at::kDouble, scores);
  const at::Tensor left = room(rows, at::kDouble, scores), count = room(1, at::kLong, scores);
  start_picking(
      lowered_by, scores.const_data_ptr<T>(), rows, least, most, left.mutable_data_ptr<double>(),
      kept.mutable_data_ptr<int64_t>(), kept_scores.mutable_data_ptr<double>(), count.mutable_data_ptr<int64_t>(),
      c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  const int64_t length = count.item<int64_t>();
  return {kept.narrow(0, 0, length), kept_scores.narrow(0, 0, length).to(scores.scalar_type())};
}

at::Tensor nms_among(
    const at::Tensor& boxes, const at::Tensor& scores, const at::Tensor* idxs, double iou_threshold) {
  const c10::cuda::CUDAGuard guard(boxes.device());
  const Falling falling(scores);
  const at::Tensor sorted = falling.of(boxes), classes = idxs ? falling.of(*idxs) : at::Tensor();
  return AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "hrkit::nms", [&] {
    const BoxesSuppress<scalar_t> suppresses{
        {sorted.const_data_ptr<scalar_t>()},
        idxs ? classes.const_data_ptr<int64_t>() : nullptr,
        floor_to<scalar_t>(iou_threshold)};
    return kept<scalar_t>(falling, suppresses);
  });
}

at::Tensor nms(const at::Tensor& boxes, const at::Tensor& scores, double iou_threshold) {
  return nms_among(boxes, scores, nullptr, iou_threshold);
}

at::Tensor batched_nms(
    const at::Tensor& boxes, const at::Tensor& scores, const at::Tensor& idxs, double iou_threshold) {
  return nms_among(boxes, scores, &idxs, iou_threshold);
}

std::tuple<at::Tensor, at::Tensor> soft_nms(
    const at::Tensor& boxes,
    const at::Tensor& scores,
    double iou_threshold,
    double sigma,
    double score_threshold,
    c10::string_view method) {
  const c10::cuda::CUDAGuard guard(boxes.device());
  return AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "hrkit::soft_nms", [&] {
    const BoxesLower<scalar_t> lowered_by{
        {boxes.const_data_ptr<scalar_t>()}, method == "linear", iou_threshold, sigma};
    return picked<scalar_t>(lowered_by, scores, score_threshold, scores.numel());
  });
}

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
  const c10::cuda::CUDAGuard guard(keypoints.device());
  const int64_t count = keypoints.size(0), other_count = others.size(0);
  const at::Tensor result = at::empty({count, other_count}, keypoints.options());
  if (result.numel() == 0) return result;
  start_oks(
      rows_of(keypoints, areas, sigmas), count, rows_of(others, other_areas, sigmas), other_count,
      result.mutable_data_ptr<double>(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return result;
}

at::Tensor oks_nms(
    const at::Tensor& keypoints,
    const at::Tensor& scores,
    const at::Tensor& areas,
    double threshold,
    const at::Tensor& sigmas) {
  const c10::cuda::CUDAGuard guard(keypoints.device());
  const Falling falling(scores);
  const at::Tensor points = falling.of(keypoints), sizes = falling.of(areas);
  return kept<double>(falling, PosesSuppress{rows_of(points, sizes, sigmas), threshold});
}

at::Tensor soft_oks_nms(
    const at::Tensor& keypoints,
    const at::Tensor& scores,
    const at::Tensor& areas,
    double threshold,
    const at::Tensor& sigmas,
    int64_t max_poses) {
  const c10::cuda::CUDAGuard guard(keypoints.device());
  const PosesLower lowered_by{rows_of(keypoints, areas, sigmas), threshold};
  return std::get<0>(picked<double>(lowered_by, scores, kAnyScore, max_poses));
}

}  // namespace

TORCH_LIBRARY_IMPL(hrkit, CUDA, m) {
  m.impl("nms", &nms);
  m.impl("batched_nms", &batched_nms);
  m.impl("soft_nms", &soft_nms);
  m.impl("oks", &oks);
  m.impl("oks_nms", &oks_nms);
  m.impl("soft_oks_nms", &soft_oks_nms);
}

}  // namespace hrkit
