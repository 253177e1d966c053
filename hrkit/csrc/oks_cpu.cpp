// Object keypoint similarity on the CPU, and suppression of poses by it; double precision throughout.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <vector>

#include "order.h"

namespace hrkit {
namespace {

constexpr double kEps = std::numeric_limits<double>::epsilon();  // numpy's spacing(1), which the official code adds
constexpr int64_t kPairs = 256;                                  // worth a thread of their own

struct Poses {
  const double* points;  // (N,K,2)
  const double* areas;
  std::vector<double> variances;
  int64_t joints;

  Poses(const at::Tensor& keypoints, const at::Tensor& areas, const at::Tensor& sigmas)
      : points(keypoints.const_data_ptr<double>()), areas(areas.const_data_ptr<double>()), joints(keypoints.size(1)) {
    for (int64_t k = 0; k < joints; ++k) variances.push_back(std::pow(2 * sigmas.const_data_ptr<double>()[k], 2));
  }
};

double similarity(const Poses& poses, const double* a, const double* b, double area) {
  double sum = 0;
  for (int64_t k = 0; k < poses.joints; ++k) {
    const double dx = a[2 * k] - b[2 * k], dy = a[2 * k + 1] - b[2 * k + 1];
    sum += std::exp(-(dx * dx + dy * dy) / poses.variances[k] / (area + kEps) / 2);
  }
  return sum / static_cast<double>(poses.joints);
}

double of_rows(const Poses& poses, int64_t i, int64_t j) {
  const int64_t row = 2 * poses.joints;
  return similarity(poses, poses.points + i * row, poses.points + j * row, (poses.areas[i] + poses.areas[j]) / 2);
}

// Whether two rows are more alike than the threshold; joints that no others could make up for end it early.
bool alike(const Poses& poses, int64_t i, int64_t j, double threshold) {
  const double *a = poses.points + 2 * poses.joints * i, *b = poses.points + 2 * poses.joints * j;
  const double area = (poses.areas[i] + poses.areas[j]) / 2;
  const double joints = static_cast<double>(poses.joints);
  double sum = 0;
  for (int64_t k = 0; k < poses.joints; ++k) {
    const double dx = a[2 * k] - b[2 * k], dy = a[2 * k + 1] - b[2 * k + 1];
    sum += std::exp(-(dx * dx + dy * dy) / poses.variances[k] / (area + kEps) / 2);
    // by a hair more than exact, so that rounding decides nothing before the last joint
    if (sum + (joints - 1 - static_cast<double>(k)) < (threshold - 1e-9) * joints) return false;
  }
  return sum / joints > threshold;
}

at::Tensor oks(
    const at::Tensor& keypoints,
    const at::Tensor& others,
    const at::Tensor& areas,
    const at::Tensor& other_areas,
    const at::Tensor& sigmas) {
  const Poses poses(keypoints, areas, sigmas);
  const int64_t count = keypoints.size(0), other_count = others.size(0), row = 2 * poses.joints;
  const double *theirs = others.const_data_ptr<double>(), *their_areas = other_areas.const_data_ptr<double>();
  at::Tensor result = at::empty({count, other_count}, keypoints.options());
  double* out = result.mutable_data_ptr<double>();
  at::parallel_for(0, count * other_count, kPairs, [&](int64_t begin, int64_t end) {
    for (int64_t pair = begin; pair < end; ++pair) {
      const int64_t i = pair / other_count, j = pair % other_count;
      out[pair] = similarity(poses, poses.points + i * row, theirs + j * row, (poses.areas[i] + their_areas[j]) / 2);
    }
  });
  return result;
}

at::Tensor oks_nms(
    const at::Tensor& keypoints,
    const at::Tensor& scores,
    const at::Tensor& areas,
    double threshold,
    const at::Tensor& sigmas) {
  const Poses poses(keypoints, areas, sigmas);
  const auto order = by_falling_score(scores.const_data_ptr<double>(), scores.numel());
  const int64_t count = static_cast<int64_t>(order.size());
  std::vector<char> gone(count, 0);
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < count; ++i) {
    if (gone[i]) continue;
    kept.push_back(order[i]);
    at::parallel_for(i + 1, count, kPairs, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        if (!gone[j]) gone[j] = alike(poses, order[i], order[j], threshold);
      }
    });
  }
  return indices(kept);
}

at::Tensor soft_oks_nms(
    const at::Tensor& keypoints,
    const at::Tensor& scores,
    const at::Tensor& areas,
    double threshold,
    const at::Tensor& sigmas,
    int64_t max_poses) {
  const Poses poses(keypoints, areas, sigmas);
  const double* given = scores.const_data_ptr<double>();
  std::vector<double> left(given, given + scores.numel());
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < scores.numel(); ++row) {
    if (!std::isnan(left[row])) rows.push_back(row);
  }
  std::vector<int64_t> kept;
  while (!rows.empty() && static_cast<int64_t>(kept.size()) < max_poses) {
    const auto best = std::max_element(rows.begin(), rows.end(), [&](int64_t a, int64_t b) { return left[a] < left[b]; });
    const int64_t chosen = *best;
    kept.push_back(chosen);
    rows.erase(best);
    for (int64_t row : rows) {
      const double same = of_rows(poses, chosen, row);
      if (!std::isnan(same)) left[row] *= std::exp(-same * same / threshold);
    }
  }
  return indices(kept);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrkit, CPU, m) {
  m.impl("oks", &oks);
  m.impl("oks_nms", &oks_nms);
  m.impl("soft_oks_nms", &soft_oks_nms);
}

}  // namespace hrkit
