// The operators on CUDA devices. torch sorts the rows, and the kernels of nms_cuda.cu run on the current stream. The host
// waits for one number only, the count of kept rows.
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
#include "tensors.h"

namespace hrkit {
namespace {

at::Tensor room(int64_t length, at::ScalarType type, const at::Tensor& like) {
  return at::empty({length}, like.options().dtype(type));
}

uint64_t* words_in(const at::Tensor& room) {
  return reinterpret_cast<uint64_t*>(room.mutable_data_ptr<int64_t>());
}

// Scores in falling order, NaN first, and the rows they come from; equal scores keep their order.
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

at::Tensor nms_among(
    const at::Tensor& boxes, const at::Tensor& scores, const at::Tensor* idxs, double iou_threshold) {
  const c10::cuda::CUDAGuard guard(boxes.device());
  const Falling falling(scores);
  const at::Tensor sorted = falling.of(boxes), classes = idxs ? falling.of(*idxs) : at::Tensor();
  return AT_DISPATCH_FLOATING_TYPES(boxes.scalar_type(), "hrkit::nms", [&] {
    const BoxesSuppress<scalar_t> suppresses{
        sorted.const_data_ptr<scalar_t>(),
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

at::Tensor oks_nms(
    const at::Tensor& keypoints,
    const at::Tensor& scores,
    const at::Tensor& areas,
    double threshold,
    const at::Tensor& sigmas) {
  const c10::cuda::CUDAGuard guard(keypoints.device());
  const Falling falling(scores);
  const at::Tensor points = falling.of(keypoints), sizes = falling.of(areas);
  return kept<double>(falling, poses_suppress(points, sizes, sigmas, threshold));
}

}  // namespace

TORCH_LIBRARY_IMPL(hrkit, CUDA, m) {
  m.impl("nms", &nms);
  m.impl("batched_nms", &batched_nms);
  m.impl("oks_nms", &oks_nms);
}

}  // namespace hrkit
