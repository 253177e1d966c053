// Suppression of boxes and poses on CUDA devices, and OKS. The kernels only say which block and thread they are: what
// they do is in bitmask.h, soft.h and rows.h, which the tests run on the CPU, block by block and thread by thread.
// They have been compiled, but were never run on a GPU.
#include "bitmask.h"
#include "kernels.h"
#include "soft.h"

namespace hrkit {
namespace {

constexpr int kThreads = 256;  // of a block where its size is free; a power of two

struct DeviceBlock {
  static constexpr int64_t threads = kThreads;

  template <typename Function>
  __device__ void phase(Function function) const {
    function(static_cast<int64_t>(threadIdx.x));
    __syncthreads();
  }
};

template <typename Suppress>
__global__ void compare_kernel(Suppress suppresses, int64_t rows, uint64_t* mask) {
  compare(suppresses, rows, blockIdx.x, blockIdx.y, threadIdx.x, mask);
}

template <typename T>
__global__ void choose_kernel(
    const uint64_t* mask, const T* scores, const int64_t* order, int64_t rows, uint64_t* gone, int64_t* kept,
    int64_t* count) {
  __shared__ Choice shared;
  choose(DeviceBlock{}, mask, scores, order, rows, gone, shared, kept, count);
}

template <typename T, typename Lower>
__global__ void pick_kernel(
    Lower lowered_by, const T* scores, int64_t rows, double least, int64_t most, double* left, int64_t* kept,
    double* kept_scores, int64_t* count) {
  __shared__ Best best[kThreads];
  pick_softly(DeviceBlock{}, lowered_by, scores, rows, least, most, left, best, kept, kept_scores, count);
}

__global__ void oks_kernel(Poses ours, Poses theirs, int64_t pairs, int64_t others, double* out) {
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pair < pairs) out[pair] = oks_of(ours, pair / others, theirs, pair % others);
}

}  // namespace

template <typename T, typename Suppress>
void start_choosing(
    const Suppress& suppresses, const T* scores, const int64_t* order, int64_t rows, uint64_t* mask, uint64_t* gone,
    int64_t* kept, int64_t* count, cudaStream_t stream) {
  const dim3 pairs_of_words(words_of(rows), words_of(rows));
  compare_kernel<<<pairs_of_words, kBits, 0, stream>>>(suppresses, rows, mask);
  choose_kernel<<<1, kThreads, 0, stream>>>(mask, scores, order, rows, gone, kept, count);
}

template <typename T, typename Lower>
void start_picking(
    const Lower& lowered_by, const T* scores, int64_t rows, double least, int64_t most, double* left, int64_t* kept,
    double* kept_scores, int64_t* count, cudaStream_t stream) {
  pick_kernel<<<1, kThreads, 0, stream>>>(
      lowered_by, scores, rows, least, most, left, kept, kept_scores, count);
}

void start_oks(
    const Poses& ours, int64_t count, const Poses& theirs, int64_t other_count, double* out, cudaStream_t stream) {
  const int64_t pairs = count * other_count;
  oks_kernel<<<(pairs + kThreads - 1) / kThreads, kThreads, 0, stream>>>(ours, theirs, pairs, other_count, out);
}

#define HRKIT_START(T, Suppress, Lower)                                                                              \
  template void start_choosing(                                                                                      \
      const Suppress&, const T*, const int64_t*, int64_t, uint64_t*, uint64_t*, int64_t*, int64_t*, cudaStream_t);   \
  template void start_picking(                                                                                       \
      const Lower&, const T*, int64_t, double, int64_t, double*, int64_t*, double*, int64_t*, cudaStream_t);

HRKIT_START(float, BoxesSuppress<float>, BoxesLower<float>)
HRKIT_START(double, BoxesSuppress<double>, BoxesLower<double>)
HRKIT_START(double, PosesSuppress, PosesLower)

}  // namespace hrkit
