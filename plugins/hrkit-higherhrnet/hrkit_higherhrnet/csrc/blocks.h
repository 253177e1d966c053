// Maps in blocks: small ones of 4x4 cells, and large ones of 4x4 small ones.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace hrkit_higherhrnet {

constexpr int64_t kSide = 4;
constexpr int64_t kParts = kSide * kSide;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

// As comparisons, which compilers turn into vectors; std::max and std::fmax care for more than numbers.
constexpr auto higher = [](float a, float b) { return a > b ? a : b; };
constexpr auto lower = [](float a, float b) { return a < b ? a : b; };
inline bool is_number(float value) { return std::abs(value) <= std::numeric_limits<float>::max(); }

// Row by row.
struct Map {
  const float* values;
  int64_t height, width;

  const float* row(int64_t y) const { return values + y * width; }

  // The 4x4 cells from one on, which are all inside.
  void load(int64_t top, int64_t left, std::array<float, kParts>& to) const {
    for (int64_t y = 0; y < kSide; ++y) std::memcpy(to.data() + y * kSide, row(top + y) + left, kSide * sizeof(float));
  }
};

// Of the blocks of a joint the highest heatmap and the range of the first tags; rows and columns are of large blocks.
// The 16 small blocks of a large one lie together.
struct Blocks {
  int64_t rows, columns;
  float *highest, *low, *high;
  float *large_highest, *large_low, *large_high;
};

// The highest heatmap, the lowest and the highest tag of what is beside each other.
template <int64_t Size>
struct Extremes {
  std::array<float, Size> highest, low, high;

  void reset() {
    highest.fill(kNothing);
    low.fill(-kNothing);
    high.fill(kNothing);
  }

  void raise(const Extremes& other) {
    for (int64_t i = 0; i < Size; ++i) {
      highest[i] = higher(highest[i], other.highest[i]);
      low[i] = lower(low[i], other.low[i]);
      high[i] = higher(high[i], other.high[i]);
    }
  }

  // Four beside each other become one.
  Extremes<Size / kSide> by_fours() const {
    Extremes<Size / kSide> result;
    for (int64_t i = 0; i < Size / kSide; ++i) {
      result.highest[i] = of_four(&highest[4 * i], higher);
      result.low[i] = of_four(&low[4 * i], lower);
      result.high[i] = of_four(&high[4 * i], higher);
    }
    return result;
  }

 private:
  template <typename Extreme>
  static float of_four(const float* values, Extreme extreme) {
    return extreme(extreme(values[0], values[1]), extreme(values[2], values[3]));
  }
};

constexpr int64_t kColumns = 4;  // large blocks that are worked on at once
constexpr int64_t kChunk = kColumns * kParts;

// Of four rows of cells, from `top` and `left` on; the last row again below it.
inline void across_rows(const Map& heatmap, const Map& tags, int64_t top, int64_t left, Extremes<kChunk>& result) {
  const int64_t count = std::min(kChunk, heatmap.width - left);
  std::array<const float*, kSide> heat, tag;
  for (int64_t i = 0; i < kSide; ++i) {
    heat[i] = heatmap.row(std::min(top + i, heatmap.height - 1)) + left;
    tag[i] = tags.row(std::min(top + i, heatmap.height - 1)) + left;
  }
  if (count < kChunk) result.reset();
  for (int64_t i = 0; i < count; ++i) {
    result.highest[i] = higher(higher(heat[0][i], heat[1][i]), higher(heat[2][i], heat[3][i]));
    result.low[i] = lower(lower(tag[0][i], tag[1][i]), lower(tag[2][i], tag[3][i]));
    result.high[i] = higher(higher(tag[0][i], tag[1][i]), higher(tag[2][i], tag[3][i]));
  }
}

// Whether the cells of rows are numbers.
inline bool are_numbers(const Map& map, int64_t top, int64_t bottom) {
  const float *begin = map.row(top), *end = map.row(std::min(bottom, map.height));
  int64_t wrong = 0;
  for (const float* cell = begin; cell < end; ++cell) wrong += !is_number(*cell);
  return wrong == 0;
}

// Fills in the blocks of a joint; whether all cells are numbers.
inline bool fill(const Blocks& blocks, const Map& heatmap, const Map& tags) {
  bool right = true;
  Extremes<kChunk> cells;
  for (int64_t row = 0; row < blocks.rows; ++row) {
    const int64_t top = row * kParts;
    // straight through memory first, which is several times faster from there than by fours
    right &= are_numbers(heatmap, top, top + kParts) & are_numbers(tags, top, top + kParts);
    for (int64_t column = 0; column < blocks.columns; column += kColumns) {
      const int64_t block = row * blocks.columns + column, count = std::min(kColumns, blocks.columns - column);
      Extremes<kParts> strip;
      strip.reset();
      for (int64_t part = 0; part < kSide; ++part) {
        across_rows(heatmap, tags, top + part * kSide, column * kParts, cells);
        const Extremes<kParts> small = cells.by_fours();
        strip.raise(small);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t to = (block + i) * kParts + part * kSide;
          std::memcpy(blocks.highest + to, &small.highest[i * kSide], kSide * sizeof(float));
          std::memcpy(blocks.low + to, &small.low[i * kSide], kSide * sizeof(float));
          std::memcpy(blocks.high + to, &small.high[i * kSide], kSide * sizeof(float));
        }
      }
      const Extremes<kSide> large = strip.by_fours();
      std::memcpy(blocks.large_highest + block, large.highest.data(), count * sizeof(float));
      std::memcpy(blocks.large_low + block, large.low.data(), count * sizeof(float));
      std::memcpy(blocks.large_high + block, large.high.data(), count * sizeof(float));
    }
  }
  return right;
}

}  // namespace hrkit_higherhrnet
