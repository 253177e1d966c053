// Rows by falling score: equal scores in order, NaN left out.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace hrkit {

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

}  // namespace hrkit
