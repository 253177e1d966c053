// Soft suppression by one block of threads (see bitmask.h): the best row is picked again and again, and lowers the
// scores of the others.
#pragma once

#include "formulas.h"

namespace hrkit {

constexpr double kAnyScore = -std::numeric_limits<double>::infinity();

struct Best {
  double score;
  int64_t row;  // -1: none
};

// Of equal scores the row that comes first.
HRKIT_INLINE Best better(Best a, Best b) {
  if (a.row < 0 || b.row < 0) return a.row < 0 ? b : a;
  return b.score > a.score || (b.score == a.score && b.row < a.row) ? b : a;
}

// Picks rows while one scores `least` or more, `most` of them at most: they go to `kept` with their scores then, and how
// many they are to `count`. `left` is room for the scores, in which those of rows that are out become NaN; `best` is
// shared by the threads, of which there must be a power of two, and has room for one of each.
template <typename Block, typename T, typename Lower>
HRKIT_INLINE void pick_softly(
    const Block& block, const Lower& lowered_by, const T* scores, int64_t rows, double least, int64_t most, double* left,
    Best* best, int64_t* kept, double* kept_scores, int64_t* count) {
  block.phase([&](int64_t thread) {
    for (int64_t row = thread; row < rows; row += block.threads) left[row] = scores[row];
  });
  int64_t picked = 0;
  for (; picked < most; ++picked) {
    block.phase([&](int64_t thread) {
      Best mine{0, -1};
      for (int64_t row = thread; row < rows; row += block.threads) {
        if (!is_nan(left[row])) mine = better(mine, Best{left[row], row});
      }
      best[thread] = mine;
    });
    for (int64_t half = block.threads / 2; half > 0; half /= 2) {
      block.phase([&](int64_t thread) {
        if (thread < half) best[thread] = better(best[thread], best[thread + half]);
      });
    }
    const Best winner = best[0];
    if (winner.row < 0 || !(winner.score >= least)) break;
    block.phase([&](int64_t thread) {
      if (thread == 0) kept[picked] = winner.row, kept_scores[picked] = winner.score;
      for (int64_t row = thread; row < rows; row += block.threads) {
        if (row == winner.row) {
          left[row] = NAN;
        } else if (!is_nan(left[row])) {
          left[row] *= lowered_by(winner.row, row);
        }
      }
    });
  }
  block.phase([&](int64_t thread) {
    if (thread == 0) *count = picked;
  });
}

}  // namespace hrkit
