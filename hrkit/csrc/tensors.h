// Rows of tensors. Not included by nms_cuda.cu: nvcc sees no header of torch.
#pragma once

#include <ATen/core/Tensor.h>

#include "rows.h"

namespace hrkit {

inline PosesSuppress poses_suppress(
    const at::Tensor& keypoints, const at::Tensor& areas, const at::Tensor& sigmas, double threshold) {
  return {
      keypoints.const_data_ptr<double>(), areas.const_data_ptr<double>(), sigmas.const_data_ptr<double>(),
      keypoints.size(1), threshold};
}

}  // namespace hrkit
