// What grouping asks of maps: K joints, T passes, maps (H,W), B large blocks. Everything is float32 and row by row.
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "blocks.h"
#include "peaks.h"
#include "search.h"

namespace hrkit_higherhrnet {
namespace {

struct Maps {
  const float *heatmaps, *tags;
  int64_t joints, height, width, passes, tag_step;

  Maps(const at::Tensor& heatmap, const at::Tensor& tag)
      : heatmaps(heatmap.const_data_ptr<float>()),
        tags(tag.const_data_ptr<float>()),
        joints(heatmap.size(0)),
        height(heatmap.size(1)),
        width(heatmap.size(2)),
        passes(tag.size(0)),
        tag_step(tag.stride(0)) {}

  int64_t cells() const { return height * width; }
  Map heatmap(int64_t joint) const { return {heatmaps + joint * cells(), height, width}; }
  Map tag(int64_t joint, int64_t pass = 0) const { return {tags + pass * tag_step + joint * cells(), height, width}; }
  int64_t rows() const { return (height + kParts - 1) / kParts; }
  int64_t columns() const { return (width + kParts - 1) / kParts; }
};

// Those of a joint, in small (3,K,B,16) and large (3,K,B).
Blocks blocks_of(const Maps& maps, float* small, float* large, int64_t joint) {
  const int64_t count = maps.rows() * maps.columns(), step = maps.joints * count;
  small += joint * count * kParts;
  large += joint * count;
  return {
      maps.rows(), maps.columns(), small, small + step * kParts, small + 2 * step * kParts,
      large,       large + step,   large + 2 * step};
}

// Whether all are numbers; peaks (P,) as cells of (K,H,W), laid flat; blocks (3,K,B,16) and (3,K,B).
std::tuple<bool, at::Tensor, at::Tensor, at::Tensor> look(
    const at::Tensor& heatmaps, const at::Tensor& tags, double threshold, int64_t most) {
  const Maps maps(heatmaps, tags);
  const int64_t count = maps.rows() * maps.columns();
  at::Tensor small = at::empty({3, maps.joints, count, kParts}, heatmaps.options());
  at::Tensor large = at::empty({3, maps.joints, count}, heatmaps.options());
  float *small_data = small.mutable_data_ptr<float>(), *large_data = large.mutable_data_ptr<float>();
  std::vector<char> right(maps.joints);
  std::vector<std::vector<int64_t>> found(maps.joints);
  at::parallel_for(0, maps.joints, 1, [&](int64_t begin, int64_t end) {
    for (int64_t joint = begin; joint < end; ++joint) {
      const Map heatmap = maps.heatmap(joint);
      const Blocks blocks = blocks_of(maps, small_data, large_data, joint);
      right[joint] = fill(blocks, heatmap, maps.tag(joint));
      for (int64_t pass = 1; pass < maps.passes; ++pass) right[joint] &= are_numbers(maps.tag(joint, pass), 0, maps.height);
      found[joint] = peaks_of(heatmap, blocks, static_cast<float>(threshold), most);
    }
  });
  int64_t total = 0;
  for (const auto& own : found) total += static_cast<int64_t>(own.size());
  at::Tensor peaks = at::empty({total}, heatmaps.options().dtype(at::kLong));
  int64_t* out = peaks.mutable_data_ptr<int64_t>();
  for (int64_t joint = 0; joint < maps.joints; ++joint) {
    for (const int64_t cell : found[joint]) *out++ = joint * maps.cells() + cell;
  }
  const bool all = std::all_of(right.begin(), right.end(), [](char one) { return one; });
  return {all, peaks, small, large};
}

// The best cells (m,) of (H,W), laid flat, for joints (m,) and mean tags (m,T), by the blocks that `look` gives.
at::Tensor best_cells(
    const at::Tensor& heatmaps,
    const at::Tensor& tags,
    const at::Tensor& small,
    const at::Tensor& large,
    const at::Tensor& joints,
    const at::Tensor& means) {
  const Maps maps(heatmaps, tags);
  const int64_t searches = joints.numel();
  const int64_t* joint = joints.const_data_ptr<int64_t>();
  const float* mean = means.const_data_ptr<float>();
  float *small_data = small.data_ptr<float>(), *large_data = large.data_ptr<float>();
  at::Tensor cells = at::empty({searches}, joints.options());
  int64_t* out = cells.mutable_data_ptr<int64_t>();
  at::parallel_for(0, searches, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> bounds, tops;
    for (int64_t i = begin; i < end; ++i) {
      Search search{
          maps.heatmap(joint[i]), maps.tag(joint[i]).values, maps.passes, maps.tag_step,
          blocks_of(maps, small_data, large_data, joint[i]), mean + i * maps.passes};
      search.run(bounds, tops);
      out[i] = search.cell;
    }
  });
  return cells;
}

}  // namespace
}  // namespace hrkit_higherhrnet

TORCH_LIBRARY(hrkit_higherhrnet, m) {
  m.def("look(Tensor heatmaps, Tensor tags, float threshold, int most) -> (bool, Tensor, Tensor, Tensor)");
  m.def("best_cells(Tensor heatmaps, Tensor tags, Tensor small, Tensor large, Tensor joints, Tensor means) -> Tensor");
}

TORCH_LIBRARY_IMPL(hrkit_higherhrnet, CPU, m) {
  m.impl("look", &hrkit_higherhrnet::look);
  m.impl("best_cells", &hrkit_higherhrnet::best_cells);
}
