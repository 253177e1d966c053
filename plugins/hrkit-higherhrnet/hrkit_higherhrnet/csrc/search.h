// Where a joint of somebody is best: the highest heatmap less the rounded distance of the tags from theirs.
//
// As in search.py: what a block holds bounds what its cells are worth, and few blocks are looked into.
#pragma once

#include <array>
#include <vector>

#include "blocks.h"

namespace hrkit_higherhrnet {

// In so many rounds the best large block is looked into, then all that are left, for which little is left to find.
constexpr int kRounds = 6;

inline float bound_of(float highest, float low, float high, float mean) {
  const float outside = higher(higher(low - mean, mean - high), 0.0f);
  return highest - std::rint(std::sqrt(outside * outside));
}

struct Search {
  Map heatmap;
  const float* tags;        // of the first pass
  int64_t passes, tag_step;  // from those of one pass to the next
  Blocks blocks;
  const float* means;        // of the tags of each pass
  float best = kNothing;
  int64_t cell = 0;

  // `bounds` and `tops` are room to work in.
  void run(std::vector<float>& bounds, std::vector<float>& tops) {
    const int64_t count = blocks.rows * blocks.columns, step = (count + kParts - 1) / kParts;
    bounds.assign(step * kParts, kNothing);
    float* bound = bounds.data();
    const float mean = means[0];
    for (int64_t block = 0; block < count; ++block) {
      bound[block] = bound_of(blocks.large_highest[block], blocks.large_low[block], blocks.large_high[block], mean);
    }
    tops.assign(step, kNothing);  // each of 16 blocks that are far apart, which takes sixteen at once
    for (int64_t begin = 0; begin < step * kParts; begin += step) {
      for (int64_t i = 0; i < step; ++i) tops[i] = higher(tops[i], bound[begin + i]);
    }
    for (int round = 0; round < kRounds; ++round) {
      const int64_t chunk = std::max_element(tops.begin(), tops.end()) - tops.begin();
      if (!(tops[chunk] > best)) return;
      int64_t block = chunk;
      for (int64_t other = chunk; other < step * kParts; other += step) block = bound[other] > bound[block] ? other : block;
      look_into_large(block);
      bound[block] = kNothing;
      tops[chunk] = kNothing;
      for (int64_t other = chunk; other < step * kParts; other += step) tops[chunk] = higher(tops[chunk], bound[other]);
    }
    for (int64_t chunk = 0; chunk < step; ++chunk) {
      if (!(tops[chunk] > best)) continue;
      for (int64_t block = chunk; block < step * kParts; block += step) {
        if (bound[block] > best) look_into_large(block);
      }
    }
  }

 private:
  void look_into_large(int64_t block) {
    const int64_t begin = block * kParts;
    const float mean = means[0];
    std::array<float, kParts> bounds;
    for (int64_t i = 0; i < kParts; ++i) {
      bounds[i] = bound_of(blocks.highest[begin + i], blocks.low[begin + i], blocks.high[begin + i], mean);
    }
    const int64_t top = block / blocks.columns * kParts, left = block % blocks.columns * kParts;
    const int64_t first = std::max_element(bounds.begin(), bounds.end()) - bounds.begin();
    if (!(bounds[first] > best)) return;
    look_into_small(top + first / kSide * kSide, left + first % kSide * kSide);
    bounds[first] = kNothing;
    for (int64_t i = 0; i < kParts; ++i) {
      if (bounds[i] > best) look_into_small(top + i / kSide * kSide, left + i % kSide * kSide);
    }
  }

  void look_into_small(int64_t top, int64_t left) {
    if (top + kSide > heatmap.height || left + kSide > heatmap.width) return look_at_edge(top, left);
    const int64_t begin = top * heatmap.width + left;
    std::array<float, kParts> squares{}, values;
    for (int64_t pass = 0; pass < passes; ++pass) {
      const float mean = means[pass];
      Map{tags + pass * tag_step, heatmap.height, heatmap.width}.load(top, left, values);
      for (int64_t i = 0; i < kParts; ++i) squares[i] += (values[i] - mean) * (values[i] - mean);
    }
    heatmap.load(top, left, values);
    int32_t any = 0;
    for (int64_t i = 0; i < kParts; ++i) {
      values[i] -= std::rint(std::sqrt(squares[i]));
      any |= values[i] > best;
    }
    if (!any) return;
    for (int64_t i = 0; i < kParts; ++i) take(values[i], begin + i / kSide * heatmap.width + i % kSide);
  }

  void look_at_edge(int64_t top, int64_t left) {
    const int64_t bottom = std::min(top + kSide, heatmap.height), right = std::min(left + kSide, heatmap.width);
    for (int64_t y = top; y < bottom; ++y) {
      for (int64_t at = y * heatmap.width + left; at < y * heatmap.width + right; ++at) {
        float square = 0;
        for (int64_t pass = 0; pass < passes; ++pass) {
          const float apart = tags[pass * tag_step + at] - means[pass];
          square += apart * apart;
        }
        take(heatmap.values[at] - std::rint(std::sqrt(square)), at);
      }
    }
  }

  void take(float value, int64_t at) {
    if (value > best) {
      best = value;
      cell = at;
    }
  }
};

}  // namespace hrkit_higherhrnet
