// The schemas of hrkit's operators; the files of each device register the implementations.
// Boxes are (N,4) x1, y1, x2, y2 and poses (N,K,2) x, y; tensors are contiguous. Boxes and scores are of one floating
// type, poses are double; the results are int64 indices.
#include <torch/library.h>

TORCH_LIBRARY(hrkit, m) {
  m.def("nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor");
  m.def("batched_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor");
  m.def("oks_nms(Tensor keypoints, Tensor scores, Tensor areas, float threshold, Tensor sigmas) -> Tensor");
}
