// The kernels of hrkit/csrc/nms_cuda.cu on the CPU, block by block and thread by thread. In each phase the threads of a
// block run in a new random order, as they may on a device. Memory that a device leaves uninitialised is full of ones.
#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "bitmask.h"
#include "rows.h"

namespace {

struct Block {
  int64_t threads;
  std::mt19937* random;

  template <typename Function>
  void phase(Function function) const {
    std::vector<int64_t> turns(threads);
    std::iota(turns.begin(), turns.end(), 0);
    std::shuffle(turns.begin(), turns.end(), *random);
    for (int64_t thread : turns) function(thread);
  }
};

template <typename T, typename Suppress>
int64_t chosen(
    const Suppress& suppresses, const T* scores, const int64_t* order, int64_t rows, int64_t threads, int64_t* kept) {
  std::mt19937 random(0);
  const int64_t words = hrkit::words_of(rows);
  std::vector<uint64_t> mask(rows * words, ~uint64_t(0)), gone(words, ~uint64_t(0));
  for (int64_t y = 0; y < words; ++y) {
    for (int64_t x = 0; x < words; ++x) {
      Block{hrkit::kBits, &random}.phase(
          [&](int64_t thread) { hrkit::compare(suppresses, rows, x, y, thread, mask.data()); });
    }
  }
  hrkit::Choice shared;
  std::fill_n(reinterpret_cast<char*>(&shared), sizeof(shared), char(-1));
  int64_t count = -1;
  hrkit::choose(Block{threads, &random}, mask.data(), scores, order, rows, gone.data(), shared, kept, &count);
  return count;
}

template <typename T>
int64_t nms(
    const T* boxes, const T* scores, const int64_t* classes, const int64_t* order, int64_t rows, double threshold,
    int64_t threads, int64_t* kept) {
  const hrkit::BoxesSuppress<T> suppresses{boxes, classes, hrkit::floor_to<T>(threshold)};
  return chosen(suppresses, scores, order, rows, threads, kept);
}

}  // namespace

#define HRKIT_BOXES(T)                                                                                               \
  int64_t nms_##T(                                                                                                   \
      const T* boxes, const T* scores, const int64_t* classes, const int64_t* order, int64_t rows, double threshold, \
      int64_t threads, int64_t* kept) {                                                                              \
    return nms(boxes, scores, classes, order, rows, threshold, threads, kept);                                       \
  }

extern "C" {

HRKIT_BOXES(float)
HRKIT_BOXES(double)

int64_t oks_nms(
    const double* points, const double* areas, const double* sigmas, int64_t joints, const double* scores,
    const int64_t* order, int64_t rows, double threshold, int64_t threads, int64_t* kept) {
  const hrkit::PosesSuppress suppresses{points, areas, sigmas, joints, threshold};
  return chosen(suppresses, scores, order, rows, threads, kept);
}

}
