// Suppression by a bit mask, for devices with many threads. `compare` tests all pairs in parallel; `choose` then goes
// through the rows, best first, with one block of threads. Rows are sorted by falling score.
//
// The code does not depend on CUDA. A `Block` has `threads` and a method `phase(f)`, which calls f(thread) for each of
// its threads and returns when all have ended. The code between two phases does the same in all threads.
#pragma once

#ifndef __CUDA_ARCH__
#include <bitset>
#endif

#include "formulas.h"

namespace hrkit {

constexpr int64_t kBits = 64;

HRKIT_INLINE int64_t words_of(int64_t rows) {
  return (rows + kBits - 1) / kBits;
}

HRKIT_INLINE int bits_set(uint64_t word) {
#ifdef __CUDA_ARCH__
  return __popcll(word);
#else
  return static_cast<int>(std::bitset<kBits>(word).count());
#endif
}

// Run by each of the kBits threads of block (x, y): finds which rows of word x the thread's row of word y suppresses.
// `mask` is (rows, words); words x < y stay unwritten.
template <typename Suppress>
HRKIT_INLINE void compare(
    const Suppress& suppresses, int64_t rows, int64_t x, int64_t y, int64_t thread, uint64_t* mask) {
  const int64_t row = y * kBits + thread;
  if (x < y || row >= rows) return;
  const int64_t begin = larger(x * kBits, row + 1), end = smaller((x + 1) * kBits, rows);
  uint64_t word = 0;
  for (int64_t other = begin; other < end; ++other) {
    word |= static_cast<uint64_t>(suppresses(row, other)) << (other - x * kBits);
  }
  mask[row * words_of(rows) + x] = word;
}

// Shared by the threads of a block in `choose`.
struct Choice {
  uint64_t own[kBits];  // per row of the current word: the rows of the same word that it suppresses
  bool eligible[kBits];
  uint64_t chosen;
  int64_t before;  // number of rows kept in earlier words
};

// Keeps each row that no kept row suppresses and whose score is not NaN. Writes the kept rows' entries of `order` to
// `kept` and their number to `count`. `gone` has room for words_of(rows) words.
template <typename Block, typename T>
HRKIT_INLINE void choose(
    const Block& block, const uint64_t* mask, const T* scores, const int64_t* order, int64_t rows, uint64_t* gone,
    Choice& shared, int64_t* kept, int64_t* count) {
  const int64_t words = words_of(rows);
  block.phase([&](int64_t thread) {
    for (int64_t word = thread; word < words; word += block.threads) gone[word] = 0;
    if (thread == 0) shared.chosen = 0, shared.before = 0;
  });
  for (int64_t word = 0; word < words; ++word) {
    const int64_t first = word * kBits;
    block.phase([&](int64_t thread) {
      for (int64_t bit = thread; bit < kBits; bit += block.threads) {
        const int64_t row = first + bit;
        shared.eligible[bit] = row < rows && !is_nan(scores[row]);
        shared.own[bit] = shared.eligible[bit] ? mask[row * words + word] : 0;
      }
    });
    block.phase([&](int64_t thread) {
      if (thread != 0) return;
      shared.before += bits_set(shared.chosen);
      shared.chosen = 0;
      uint64_t suppressed = gone[word];
      for (int64_t bit = 0; bit < kBits; ++bit) {
        if (!shared.eligible[bit] || (suppressed >> bit & 1)) continue;
        shared.chosen |= uint64_t(1) << bit;
        suppressed |= shared.own[bit];
      }
    });
    block.phase([&](int64_t thread) {
      for (int64_t bit = thread; bit < kBits; bit += block.threads) {
        if (!(shared.chosen >> bit & 1)) continue;
        const uint64_t better = shared.chosen & ((uint64_t(1) << bit) - 1);
        kept[shared.before + bits_set(better)] = order[first + bit];
      }
      for (int64_t later = word + 1 + thread; later < words; later += block.threads) {
        uint64_t suppressed = gone[later];
        for (int64_t bit = 0; bit < kBits; ++bit) {
          if (shared.chosen >> bit & 1) suppressed |= mask[(first + bit) * words + later];
        }
        gone[later] = suppressed;
      }
    });
  }
  block.phase([&](int64_t thread) {
    if (thread == 0) *count = shared.before + bits_set(shared.chosen);
  });
}

}  // namespace hrkit
