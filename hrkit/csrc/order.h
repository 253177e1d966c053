// Rows by falling score, and rows as an answer.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace hrkit {

// Equal scores in order, NaN left out.
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

inline at::Tensor indices(const std::vector<int64_t>& rows) {
  return at::tensor(rows, at::TensorOptions().dtype(at::kLong));
}

}  // namespace hrkit
