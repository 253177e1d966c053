// The schemas of hrkit's operators; each device registers its own bodies for them.
// Boxes are (N,4) x1, y1, x2, y2 and poses (N,K,2) x, y, contiguous, of one floating type; indices are int64.
#include <torch/library.h>

TORCH_LIBRARY(hrkit, m) {
  m.def("nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor");
  m.def("batched_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor");
  m.def(
      "soft_nms(Tensor boxes, Tensor scores, float iou_threshold, float sigma, float score_threshold, str method)"
      " -> (Tensor, Tensor)");
  m.def("oks(Tensor keypoints, Tensor others, Tensor areas, Tensor other_areas, Tensor sigmas) -> Tensor");
  m.def("oks_nms(Tensor keypoints, Tensor scores, Tensor areas, float threshold, Tensor sigmas) -> Tensor");
  m.def(
      "soft_oks_nms(Tensor keypoints, Tensor scores, Tensor areas, float threshold, Tensor sigmas, int max_poses)"
      " -> Tensor");
}
