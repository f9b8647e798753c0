#include "base/profile.h"

#include "base/fields.h"
#include "base/text.h"
#include "base/units.h"

namespace orch {
std::string_view name_of(ProfileUse use) {
  switch (use) {
    case ProfileUse::kAny:
      return "any";
    case ProfileUse::kMoe:
      return "moe";
    case ProfileUse::kMultimodal:
      return "multimodal";
  }
  return "";
}

double Gpu::flops_for(DType dtype) const {
  for (DType candidate : {dtype, DType::kBf16, DType::kFp16, DType::kFp32})
    if (const auto at = flops.find(candidate); at != flops.end()) return at->second;
  return flops.empty() ? 0 : flops.begin()->second;
}

Gpu read_gpu(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "the GPU " + quote(name), diagnostics);
  Gpu gpu;
  gpu.name = name;
  gpu.source = place_of(node, file);
  fields.require("memory");
  gpu.memory = fields.bytes("memory", kMiB, 1e15).value_or(kGiB);
  fields.require("bandwidth");
  gpu.bandwidth = fields.rate("bandwidth", 1e6, 1e18).value_or(1e9);
  if (const Yaml* flops = fields.require("flops")) {
    Fields by_dtype(*flops, file, "a 'flops' map", diagnostics);
    for (DType dtype : kDTypes)
      if (const auto value = by_dtype.count(name_of(dtype), 1e6, 1e21)) gpu.flops[dtype] = *value;
    if (by_dtype.is_map() && !by_dtype.has("fp32") && !by_dtype.has("bf16") && !by_dtype.has("fp16"))
      fields.error("flops", "'flops' needs at least one of fp32, bf16, fp16");
    by_dtype.finish();
  }
  // What divides by the peak must find one even when the entry was refused.
  if (gpu.flops.empty()) gpu.flops[DType::kFp32] = 1e12;
  gpu.link = fields.rate("link", 1e6, 1e18).value_or(32e9);  // PCIe 4.0 ×16, when nothing is said
  gpu.watts = fields.number("watts", 0, 1e6).value_or(0);
  gpu.slurm_names = fields.texts("slurm_names").value_or(std::vector<std::string>{});
  for (const std::string& slurm : gpu.slurm_names)
    if (!is_name(slurm))
      fields.error("slurm_names",
                   "what Slurm calls a GPU is a name of letters, digits and _ . -; found " + quote(slurm));
  fields.finish();
  return gpu;
}

Profile read_profile(const std::string& name, const Yaml& node, const std::string& file, Diagnostics& diagnostics) {
  Fields fields(node, file, "the profile " + quote(name), diagnostics);
  Profile profile;
  profile.name = name;
  profile.source = place_of(node, file);
  profile.nodes = static_cast<int>(fields.whole("nodes", 1, 10'000).value_or(1));
  fields.require("gpus_per_node");
  profile.gpus_per_node = static_cast<int>(fields.whole("gpus_per_node", 1, 64).value_or(1));
  profile.use =
      fields
          .choice<ProfileUse>(
              "use", {{"any", ProfileUse::kAny}, {"moe", ProfileUse::kMoe}, {"multimodal", ProfileUse::kMultimodal}})
          .value_or(ProfileUse::kAny);
  fields.require("cpus_per_gpu");
  profile.cpus_per_gpu = static_cast<int>(fields.whole("cpus_per_gpu", 1, 1024).value_or(1));
  fields.require("memory");
  profile.memory = fields.bytes("memory", kMiB, 1e15).value_or(kGiB);
  fields.require("time_limit");
  profile.time_limit = fields.duration("time_limit", 60, 366 * 86400.0).value_or(3600);
  fields.require("template");
  profile.template_name = fields.name("template").value_or("");
  profile.description = fields.text("description").value_or("");
  profile.partition = fields.name("partition").value_or("");
  if (const Yaml* submit = fields.get("submit"))
    profile.submit =
        read_submit_without_partition(*submit, file, diagnostics, "'partition' is a key of the profile itself");
  fields.finish();
  return profile;
}

}  // namespace orch
