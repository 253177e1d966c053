// Peaks of a heatmap.
#pragma once

#include <array>
#include <vector>

#include "blocks.h"

namespace hrkit_higherhrnet {

constexpr int64_t kReach = 2;  // a peak is as high as any of the 5x5 cells about it

inline bool is_highest_about(const Map& map, int64_t y, int64_t x) {
  const float value = map.row(y)[x];
  const int64_t bottom = std::min(y + kReach, map.height - 1), right = std::min(x + kReach, map.width - 1);
  for (int64_t row = std::max<int64_t>(y - kReach, 0); row <= bottom; ++row) {
    for (int64_t column = std::max<int64_t>(x - kReach, 0); column <= right; ++column) {
      if (map.row(row)[column] > value) return false;
    }
  }
  return true;
}

// Which cells of a small block, all about which is inside the map, are above the threshold and their four neighbours.
inline std::array<int32_t, kParts> stand_out(const Map& map, int64_t top, int64_t left, float threshold) {
  std::array<float, kParts> cell, above, below, before, after;
  map.load(top, left, cell);
  map.load(top - 1, left, above);
  map.load(top + 1, left, below);
  map.load(top, left - 1, before);
  map.load(top, left + 1, after);
  std::array<int32_t, kParts> result;
  for (int64_t i = 0; i < kParts; ++i) {
    result[i] = (cell[i] > threshold) & (cell[i] >= above[i]) & (cell[i] >= below[i]) & (cell[i] >= before[i]) &
                (cell[i] >= after[i]);
  }
  return result;
}

// The flat cells of at most so many peaks above the threshold, the highest first, of equal ones the first.
inline std::vector<int64_t> peaks_of(const Map& map, const Blocks& blocks, float threshold, int64_t most) {
  std::vector<int64_t> found;
  for (int64_t block = 0; block < blocks.rows * blocks.columns * kParts; ++block) {
    if (!(blocks.highest[block] > threshold)) continue;
    const int64_t large = block / kParts, part = block % kParts;
    const int64_t top = large / blocks.columns * kParts + part / kSide * kSide;
    const int64_t left = large % blocks.columns * kParts + part % kSide * kSide;
    const int64_t bottom = std::min(top + kSide, map.height), right = std::min(left + kSide, map.width);
    std::array<int32_t, kParts> maybe;
    if (top > 0 && left > 0 && top + kSide < map.height && left + kSide < map.width) {
      maybe = stand_out(map, top, left, threshold);
    } else {
      maybe.fill(1);
    }
    for (int64_t y = top; y < bottom; ++y) {
      for (int64_t x = left; x < right; ++x) {
        if (!maybe[(y - top) * kSide + x - left] || !(map.row(y)[x] > threshold)) continue;
        if (is_highest_about(map, y, x)) found.push_back(y * map.width + x);
      }
    }
  }
  std::sort(found.begin(), found.end(), [&](int64_t a, int64_t b) {
    return map.values[a] > map.values[b] || (map.values[a] == map.values[b] && a < b);
  });
  if (static_cast<int64_t>(found.size()) > most) found.resize(most);
  return found;
}

}  // namespace hrkit_higherhrnet
