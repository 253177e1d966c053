// Soft suppression on the CPU, where a block has one thread.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>

#include <vector>

#include "soft.h"

namespace hrkit {

struct OneThread {
  static constexpr int64_t threads = 1;

  template <typename Function>
  void phase(Function function) const {
    function(int64_t(0));
  }
};

struct Picked {
  std::vector<int64_t> rows;
  std::vector<double> scores;
};

template <typename Lower>
Picked picked_softly(const Lower& lowered_by, const at::Tensor& scores, double least, int64_t most) {
  const int64_t rows = scores.numel();
  Picked picked{std::vector<int64_t>(rows), std::vector<double>(rows)};
  std::vector<double> left(rows);
  Best best;
  int64_t count;
  AT_DISPATCH_FLOATING_TYPES(scores.scalar_type(), "hrkit::picked_softly", [&] {
    pick_softly(
        OneThread{}, lowered_by, scores.const_data_ptr<scalar_t>(), rows, least, most, left.data(), &best,
        picked.rows.data(), picked.scores.data(), &count);
  });
  picked.rows.resize(count);
  picked.scores.resize(count);
  return picked;
}

}  // namespace hrkit
