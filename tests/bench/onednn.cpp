// oneDNN at the products of this benchmark, where it is there: what the choice of our own loops is held against.
#include "bench/ceilings.h"

#if defined(ORCH_ONEDNN)
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <dnnl.hpp>
#include <string>

namespace orch::bench {

std::string_view onednn_version() {
  static const std::string kVersion = [] {
    const dnnl_version_t* it = dnnl_version();
    return std::to_string(it->major) + "." + std::to_string(it->minor) + "." + std::to_string(it->patch);
  }();
  return kVersion;
}

double onednn_product(DType dtype, const ProductShape& shape, int threads, int rounds) {
  using dnnl::memory;
  if (dtype != DType::kFp32 && dtype != DType::kBf16) return 0;
  const auto type = dtype == DType::kFp32 ? memory::data_type::f32 : memory::data_type::bf16;
  omp_set_num_threads(threads);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc x({shape.rows, shape.inner}, type, memory::format_tag::ab),
      weight({shape.inner, shape.outputs}, type, memory::format_tag::any),
      y({shape.rows, shape.outputs}, type, memory::format_tag::ab);
  const dnnl::matmul::primitive_desc about(dnnl::matmul::desc(x, weight, y), engine);
  const dnnl::matmul product(about);
  memory x_there(x, engine), weight_there(about.weights_desc(), engine), y_there(y, engine);
  // Small numbers, none of them 0: some processors are faster at nothing.
  for (memory* each : {&x_there, &weight_there}) {
    auto* bytes = static_cast<unsigned char*>(each->get_data_handle());
    for (std::size_t i = 0; i < each->get_desc().get_size(); ++i) bytes[i] = i % 2 == 1 ? 0x3c : 0x11;
  }
  double best = 0;
  for (int round = 0; round <= rounds; ++round) {
    const auto begun = std::chrono::steady_clock::now();
    product.execute(stream, {{DNNL_ARG_SRC, x_there}, {DNNL_ARG_WEIGHTS, weight_there}, {DNNL_ARG_DST, y_there}});
    stream.wait();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    best = std::max(best, 2.0 * static_cast<double>(shape.rows * shape.inner * shape.outputs) / seconds);
  }
  return best;
}

}  // namespace orch::bench

#else

namespace orch::bench {
std::string_view onednn_version() { return {}; }
double onednn_product(DType, const ProductShape&, int, int) { return 0; }
}  // namespace orch::bench

#endif
