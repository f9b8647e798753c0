// Adapters put into the weights that they change, against what PEFT's merge_and_unload gave in float64
// (scripts/record-adapters).
#include "model/merge.h"

#include <gmock/gmock.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "kernels/number.h"
#include "model/checkpoint.h"
#include "model/peft.h"
#include "model/projections.h"
#include "model/runner.h"
#include "model/safetensors_writer.h"
#include "support/families.h"
#include "support/temporary.h"

namespace orch::model {
namespace {

using nlohmann::json;
using testing::Contains, testing::ElementsAre, testing::HasSubstr, testing::IsEmpty, testing::Not;
namespace fs = std::filesystem;

fs::path adapters_folder() { return test::family_folder("llama3").parent_path().parent_path() / "adapters"; }

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

json expected_of(const std::string& adapter) {
  return json::parse(text_of(adapters_folder() / adapter / "expected.json"));
}

/// Those that were recorded, and can be merged.
std::vector<std::string> adapters() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(adapters_folder()))
    if (fs::exists(entry.path() / "expected.json") && entry.path().filename() != "llama_fp8")
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

Checkpoint opened(const fs::path& folder) {
  auto checkpoint = Checkpoint::open(folder);
  if (!checkpoint) throw std::runtime_error(checkpoint.error().what);
  return *std::move(checkpoint);
}

std::vector<float> numbers_of(const Tensor& tensor) {
  std::vector<float> numbers(static_cast<std::size_t>(tensor.count()));
  read_numbers(tensor, 0, tensor.count(), numbers.data());
  return numbers;
}

template <class T>
std::vector<T> stored_numbers(const Tensor& tensor) {
  std::vector<T> numbers(static_cast<std::size_t>(tensor.count()));
  std::memcpy(numbers.data(), tensor.bytes.data(), tensor.bytes.size());
  return numbers;
}

std::string bytes_of_tensor(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()};
}

/// A recorded adapter and a folder to merge it into.
class Merging : public testing::Test {
 protected:
  void use(const std::string& adapter) {
    expected_ = expected_of(adapter);
    base_ = test::family_folder(expected_.at("base").get<std::string>());
    adapter_ = adapters_folder() / adapter;
  }
  Merged merge(std::optional<DType> dtype = {}) {
    auto merged = merge_adapter(base_, adapter_, out(), dtype);
    if (!merged) throw std::runtime_error(merged.error().what);
    return *std::move(merged);
  }
  /// Why it cannot be merged. Nothing may be left of it.
  std::string why_not(std::optional<DType> dtype = {}) {
    const auto merged = merge_adapter(base_, adapter_, out(), dtype);
    if (merged) return "it was merged";
    EXPECT_FALSE(fs::exists(out()));
    EXPECT_FALSE(fs::exists(out().string() + ".new"));
    return merged.error().what;
  }
  fs::path out() const { return folder_ / "merged"; }

  /// The base's copy, for tests that change it.
  void copy_base() {
    fs::copy(base_, folder_ / "base");
    base_ = folder_ / "base";
  }
  /// The adapter's copy, changed.
  void change_adapter(const std::function<void(PeftAdapter&)>& change) {
    auto peft = read_peft(adapter_);
    if (!peft) throw std::runtime_error(peft.error().what);
    change(*peft);
    adapter_ = folder_ / "adapter";
    if (auto written = write_peft(adapter_, *peft); !written) throw std::runtime_error(written.error().what);
  }
  /// Replaces the base's tensors by these; `file` is new or is there.
  void write_base(const std::map<std::string, WrittenTensor>& tensors, const std::string& file = "model.safetensors") {
    if (auto written = write_safetensors(base_ / file, tensors, {{"format", "pt"}}); !written)
      throw std::runtime_error(written.error().what);
  }

  const test::TemporaryFolder folder_;
  json expected_;
  fs::path base_, adapter_;
};

class Merges : public Merging, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override { use(GetParam()); }
};

TEST_P(Merges, GiveTheWeightsOfPeft) {
  const Merged merged = merge(DType::kFp32);
  const Checkpoint got = opened(out()), before = opened(base_);
  std::vector<std::string> names;
  for (const auto& [name, of] : expected_.at("merged").items()) {
    SCOPED_TRACE(name);
    names.push_back(name);
    ASSERT_TRUE(got.has(name));
    EXPECT_EQ(got.find(name)->stored, Stored::kF32);
    EXPECT_EQ(got.find(name)->shape, before.find(name)->shape);
    const std::vector<float> numbers = numbers_of(*got.find(name));
    const double norm = of.at("norm");
    EXPECT_NEAR(test::norm_of(numbers), norm, 1e-6 * norm);
    for (std::uint64_t k = 0; k < 3; ++k)
      EXPECT_NEAR(test::projected(numbers, name, k), of.at("projections").at(k).get<double>(), 1e-6 * norm) << k;
  }
  EXPECT_EQ(merged.changed, names);
  EXPECT_EQ(merged.tensors, before.tensors().size());
}

TEST_P(Merges, LeaveOtherTensorsAndFilesAsTheyAre) {
  merge();
  const Checkpoint got = opened(out()), before = opened(base_);
  ASSERT_EQ(got.tensors().size(), before.tensors().size());
  for (const auto& [name, tensor] : before.tensors()) {
    ASSERT_TRUE(got.has(name)) << name;
    EXPECT_EQ(got.find(name)->stored, tensor.stored) << name;
    EXPECT_EQ(got.find(name)->shape, tensor.shape) << name;
    EXPECT_EQ(bytes_of_tensor(*got.find(name)) == bytes_of_tensor(tensor), !expected_.at("merged").contains(name))
        << name;
  }
  // As each number takes as much room as before, so does the whole: other readers find what they found there.
  for (const fs::directory_entry& entry : fs::directory_iterator(base_)) {
    const fs::path written = out() / entry.path().filename();
    ASSERT_TRUE(fs::exists(written)) << written;
    if (entry.path().extension() == ".safetensors")
      EXPECT_EQ(fs::file_size(written) / 64, entry.file_size() / 64) << written;
    else
      EXPECT_EQ(text_of(written), text_of(entry.path())) << written;
  }
}

TEST_P(Merges, GiveTheLogitsOfPeft) {
  merge(DType::kFp32);
  Runner runner(out());
  const json& sequences = expected_.at("sequences");
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const Logits logits = logits_of(runner, sequences[s].at("ids").get<std::vector<int>>());
    const auto positions = sequences[s].at("positions").get<std::vector<std::size_t>>();
    std::vector<json> all = {sequences[s].at("logits")};
    if (expected_.contains("merged_logits")) all.push_back(expected_.at("merged_logits").at(s));
    for (const json& each : all) {
      const auto wanted = each.get<std::vector<std::vector<double>>>();
      ASSERT_EQ(wanted.size(), positions.size());
      for (std::size_t i = 0; i < positions.size(); ++i)
        for (std::size_t t = 0; t < wanted[i].size(); ++t)
          EXPECT_NEAR(static_cast<double>(logits[positions[i]][t]), wanted[i][t],
                      1e-4 * std::max(1.0, std::fabs(wanted[i][t])));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Of, Merges, testing::ValuesIn(adapters()), [](const auto& it) { return it.param; });

/// What a tensor should become, number by number, from the definition.
std::vector<double> in_double(const Tensor& before, const PeftModule& module) {
  std::vector<double> sums;
  if (before.stored == Stored::kF64) {
    sums = stored_numbers<double>(before);
  } else {
    const std::vector<float> numbers = numbers_of(before);
    sums.assign(numbers.begin(), numbers.end());
  }
  for (std::int64_t row = 0; row < module.outputs; ++row)
    for (std::int64_t col = 0; col < module.inputs; ++col) {
      double product = 0;
      for (std::int64_t r = 0; r < module.rank; ++r)
        product += static_cast<double>(module.b[static_cast<std::size_t>(row * module.rank + r)]) *
                   static_cast<double>(module.a[static_cast<std::size_t>(r * module.inputs + col)]);
      sums[static_cast<std::size_t>(row * module.inputs + col)] += module.scale * product;
    }
  return sums;
}

/// That a stored number is the nearest to `exact`, and even where two are as near.
template <class T>
void expect_nearest(T got, double exact) {
  const auto value = [](std::uint16_t bits) { return static_cast<double>(kernels::to_float(T{bits})); };
  const double apart = std::fabs(value(got.bits) - exact);
  for (const int step : {-1, 1}) {
    const double other = std::fabs(value(static_cast<std::uint16_t>(got.bits + step)) - exact);
    EXPECT_LE(apart, other) << exact;
    if (apart == other) EXPECT_EQ(got.bits & 1, 0) << exact;
  }
}

TEST_F(Merging, RoundsABaseInBf16ToTheNearest) {
  use("llama_bf16");
  merge();
  const Checkpoint got = opened(out()), before = opened(base_);
  const auto peft = read_peft(adapter_);
  ASSERT_TRUE(peft);
  for (const PeftModule& module : peft->modules) {
    const std::vector<double> exact = in_double(*before.find(module.path + ".weight"), module);
    const auto stored = stored_numbers<kernels::Bf16>(*got.find(module.path + ".weight"));
    ASSERT_EQ(stored.size(), exact.size());
    for (std::size_t i = 0; i < exact.size(); ++i) expect_nearest(stored[i], exact[i]);
  }
}

// What is a little more than half a step above an even number: by way of a float it is half a step, and then nothing.
TEST_F(Merging, RoundsOnce) {
  use("llama_bf16");
  const std::string path = "model.layers.0.self_attn.q_proj";
  const auto before = stored_numbers<kernels::Bf16>(*opened(base_).find(path + ".weight"));
  std::size_t even = 0;
  while (before[even].bits & 1 || !(kernels::to_float(before[even]) > 0)) ++even;
  ASSERT_LT(even, 32U) << "in the first row";
  const float number = kernels::to_float(before[even]);
  const float step = kernels::to_float(kernels::Bf16{static_cast<std::uint16_t>(before[even].bits + 1)}) - number;
  for (const bool more : {false, true}) {
    use("llama_bf16");
    change_adapter([&](PeftAdapter& peft) {
      std::erase_if(peft.modules, [&](const PeftModule& each) { return each.path != path; });
      PeftModule& module = peft.modules.at(0);
      std::fill(module.a.begin(), module.a.end(), 0.0F);
      std::fill(module.b.begin(), module.b.end(), 0.0F);
      const auto inputs = static_cast<std::size_t>(module.inputs);
      module.a[even] = step / 2 / static_cast<float>(module.scale);
      module.a[inputs + even] = more ? number * 0x1p-40F : 0;
      module.b[0] = module.b[1] = 1;
    });
    merge();
    const auto after = stored_numbers<kernels::Bf16>(*opened(out()).find(path + ".weight"));
    EXPECT_EQ(after[even].bits, before[even].bits + (more ? 1 : 0));
    fs::remove_all(out());
  }
}

TEST_F(Merging, KeepsFormatsOf16And64Bits) {
  use("llama_patterns");
  const fs::path family = base_;
  copy_base();
  const auto peft = read_peft(adapter_);
  ASSERT_TRUE(peft);
  std::map<std::string, std::vector<kernels::Fp16>> half;
  std::map<std::string, std::vector<double>> whole;
  std::map<std::string, WrittenTensor> tensors;
  const Checkpoint checkpoint = opened(family);
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    const std::vector<float> numbers = numbers_of(tensor);
    if (name.find("layers.0") != std::string::npos) {
      for (const float number : numbers) half[name].push_back(kernels::from_float<kernels::Fp16>(number));
      tensors[name] = {Stored::kF16, tensor.shape, std::as_bytes(std::span(half[name]))};
    } else {
      // More digits than a float has.
      for (const float number : numbers) whole[name].push_back(static_cast<double>(number) * (1 + 0x1p-40));
      tensors[name] = {Stored::kF64, tensor.shape, std::as_bytes(std::span(whole[name]))};
    }
  }
  write_base(tensors);
  merge();
  const Checkpoint got = opened(out()), before = opened(base_);
  for (const PeftModule& module : peft->modules) {
    const std::string name = module.path + ".weight";
    const std::vector<double> exact = in_double(*before.find(name), module);
    ASSERT_EQ(got.find(name)->stored, before.find(name)->stored);
    if (half.contains(name)) {
      const auto stored = stored_numbers<kernels::Fp16>(*got.find(name));
      for (std::size_t i = 0; i < exact.size(); ++i) expect_nearest(stored[i], exact[i]);
    } else {
      const auto stored = stored_numbers<double>(*got.find(name));
      for (std::size_t i = 0; i < exact.size(); ++i)
        EXPECT_NEAR(stored[i], exact[i], 1e-15 * std::max(1.0, std::fabs(exact[i])));
    }
  }
}

TEST_F(Merging, RefusesNumbersThatAFormatHasNoRoomFor) {
  use("llama3");
  change_adapter([](PeftAdapter& peft) { peft.modules[3].b[5] = 1e9F; });
  EXPECT_THAT(why_not(DType::kFp16), HasSubstr("too large for F16; bf16 and fp32 have room for them"));
  merge();
  fs::remove_all(out());
  change_adapter([](PeftAdapter& peft) { peft.modules[3].b[5] = std::nanf(""); });
  EXPECT_THAT(why_not(), HasSubstr("not finite: the adapter's A or B has"));
}

TEST_F(Merging, IsTheSameHoweverTheBaseIsCut) {
  use("qwen2_rslora");
  merge(DType::kFp32);
  const fs::path one = folder_ / "one";
  fs::rename(out(), one);
  // The same tensors in three files, of which one has nothing that changes.
  const Checkpoint whole = opened(base_);
  copy_base();
  fs::remove(base_ / "model.safetensors");
  std::map<std::string, std::map<std::string, WrittenTensor>> files;
  json index = {{"metadata", {{"total_size", 1}, {"kept", "yes"}}}, {"weight_map", json::object()}};
  std::uint64_t size = 0, changed = 0;
  for (const auto& [name, tensor] : whole.tensors()) {
    const std::string file = name.find("layers.0") != std::string::npos   ? "model-00001-of-00003.safetensors"
                             : name.find("layers.1") != std::string::npos ? "model-00002-of-00003.safetensors"
                                                                          : "model-00003-of-00003.safetensors";
    files[file][name] = {tensor.stored, tensor.shape, tensor.bytes};
    index["weight_map"][name] = file;
    size += tensor.bytes.size();
    if (expected_.at("merged").contains(name)) changed += tensor.bytes.size();
  }
  for (const auto& [file, tensors] : files) write_base(tensors, file);
  std::ofstream(base_ / "model.safetensors.index.json") << index;

  merge(DType::kFp32);
  for (const auto& [file, tensors] : files) EXPECT_TRUE(fs::exists(out() / file)) << file;
  EXPECT_FALSE(fs::exists(out() / "model.safetensors"));
  const Checkpoint got = opened(out()), wanted = opened(one);
  ASSERT_EQ(got.tensors().size(), wanted.tensors().size());
  for (const auto& [name, tensor] : wanted.tensors())
    EXPECT_EQ(bytes_of_tensor(*got.find(name)), bytes_of_tensor(tensor)) << name;
  // From 16 bits to 32 the changed tensors double, and the index says so.
  json written = json::parse(text_of(out() / "model.safetensors.index.json"));
  EXPECT_EQ(written.at("metadata").at("total_size"), size + changed);
  EXPECT_EQ(written.at("metadata").at("kept"), "yes");
  EXPECT_EQ(written.at("weight_map"), index.at("weight_map"));
  fs::remove_all(out());
  merge();
  EXPECT_EQ(text_of(out() / "model.safetensors.index.json"), index.dump()) << "no size has changed";
}

TEST_F(Merging, PutsWideNumbersFirst) {
  use("llama_bf16");
  merge(DType::kFp32);
  const Checkpoint got = opened(out());
  const std::byte* begin = nullptr;
  for (const auto& [name, tensor] : got.tensors())
    if (!begin || tensor.bytes.data() < begin) begin = tensor.bytes.data();
  for (const auto& [name, tensor] : got.tensors())
    EXPECT_EQ((tensor.bytes.data() - begin) % static_cast<std::ptrdiff_t>(bytes_of(tensor.stored)), 0) << name;
}

TEST_F(Merging, CopiesWhatIsNoWeightAndSaysWhatItLeftOut) {
  use("llama_bf16");
  copy_base();
  const std::string large(3'000'000, 'x');
  const auto write = [&](const std::string& name, const std::string& text) {
    fs::create_directories((base_ / name).parent_path());
    std::ofstream(base_ / name, std::ios::binary) << text;
  };
  write("tokenizer.json", large);
  write("empty.txt", "");
  write("additional_chat_templates/rag.jinja", "{{ 1 }}");
  write("original/consolidated.00.pth", "weights");
  write("pytorch_model.bin", "weights");
  write("pytorch_model.bin.index.json", "weights");
  write("model.safetensors.index.json", "of other files");
  write("consolidated.safetensors", "weights");
  write("adapter_config.json", "{}");
  // As the hub's cache has its files.
  write("blob", "{% for %}");
  fs::create_symlink("blob", base_ / "chat_template.jinja");
  const Merged merged = merge();
  EXPECT_EQ(text_of(out() / "tokenizer.json"), large);
  EXPECT_EQ(text_of(out() / "additional_chat_templates/rag.jinja"), "{{ 1 }}");
  EXPECT_EQ(text_of(out() / "chat_template.jinja"), "{% for %}");
  EXPECT_FALSE(fs::is_symlink(out() / "chat_template.jinja"));
  EXPECT_TRUE(fs::exists(out() / "empty.txt"));
  EXPECT_FALSE(fs::exists(out() / "original"));
  EXPECT_THAT(merged.copied, Contains("additional_chat_templates/rag.jinja"));
  EXPECT_THAT(merged.left_out,
              ElementsAre("adapter_config.json", "consolidated.safetensors", "model.safetensors.index.json",
                          "pytorch_model.bin", "pytorch_model.bin.index.json"));
  for (const std::string& name : merged.left_out) EXPECT_FALSE(fs::exists(out() / name)) << name;
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(out()))
    if (entry.is_regular_file()) bytes += entry.file_size();
  EXPECT_NEAR(static_cast<double>(merged.bytes), static_cast<double>(bytes), 64);

  fs::remove_all(out());
  fs::remove(base_ / "blob");
  EXPECT_THAT(why_not(), HasSubstr("chat_template.jinja is no file that can be copied, or a link to nothing"));
}

TEST_F(Merging, NeverWritesWhereSomethingIs) {
  use("llama_bf16");
  copy_base();
  const auto into = [&](const fs::path& where) {
    const auto merged = merge_adapter(base_, adapter_, where);
    return merged ? std::string("it was merged") : merged.error().what;
  };
  const std::string before = text_of(base_ / "model.safetensors");
  EXPECT_THAT(into(base_), HasSubstr("is there already; a merged model is written to a new folder"));
  EXPECT_THAT(into(base_ / ""), HasSubstr("is there already"));
  EXPECT_THAT(into(base_ / "config.json"), HasSubstr("is there already"));
  EXPECT_EQ(text_of(base_ / "model.safetensors"), before);
  EXPECT_THAT(into(folder_ / "nowhere/merged"), HasSubstr("cannot make the folder"));
  fs::create_directory(out().string() + ".new");
  EXPECT_THAT(into(out()), HasSubstr("merged.new is there: another merge is writing it, or was cut off"));
  fs::remove(out().string() + ".new");
  fs::create_directory(out());
  EXPECT_EQ(into(out() / ""), "it was merged") << "an empty folder";
  EXPECT_TRUE(fs::exists(out() / "config.json"));
  EXPECT_FALSE(fs::exists(out().string() + ".new"));
}

TEST_F(Merging, OfAModuleThatTheBaseDoesNotHaveIsRefusedByName) {
  use("llama3");
  change_adapter([](PeftAdapter& peft) { peft.modules[1].path = "model.layers.9.mlp.up_proj"; });
  EXPECT_THAT(why_not(), HasSubstr("model.layers.9.mlp.up_proj, which the model has no tensor of"));
  use("llama3");
  change_adapter([](PeftAdapter& peft) {
    PeftModule& module = peft.modules[0];
    module.inputs += 1;
    module.a.resize(static_cast<std::size_t>(module.rank * module.inputs));
  });
  EXPECT_THAT(why_not(), HasSubstr("model.layers.0.mlp.down_proj cannot be merged: it is 32 × 57, for which tensor "
                                   "model.layers.0.mlp.down_proj.weight would be 32 × 57, and it is 32 × 56"));
  use("gpt2");
  change_adapter([](PeftAdapter& peft) {
    PeftModule& module = peft.modules[0];
    std::swap(module.a, module.b);
    std::swap(module.inputs, module.outputs);
  });
  EXPECT_THAT(why_not(), HasSubstr("it is 32 × 96, for which tensor transformer.h.0.attn.c_attn.weight would be "
                                   "96 × 32, and it is 32 × 96"));
  // What is a norm to the model is no matrix; a head that is the embedding would change that too.
  use("llama3");
  change_adapter([](PeftAdapter& peft) { peft.modules[0].path = "model.norm"; });
  EXPECT_THAT(why_not(), HasSubstr("model.norm cannot be merged"));
  use("gemma2");
  change_adapter([](PeftAdapter& peft) { peft.modules[0].path = "lm_head"; });
  EXPECT_THAT(why_not(), HasSubstr("the model's head is its embedding too"));
}

TEST_F(Merging, IntoFp8IsRefusedWithWhatToDo) {
  use("llama_fp8");
  for (const auto dtype : {std::optional<DType>(), std::optional(DType::kBf16)})
    EXPECT_THAT(why_not(dtype), HasSubstr("is stored as F8_E4M3, with scales that were made for the numbers that it "
                                          "has; merge into the checkpoint in 16 or 32 bits that it was made from"));
}

TEST_F(Merging, OfFilesThatCannotBeReadIsRefused) {
  use("llama_bf16");
  for (const fs::directory_entry& entry : fs::directory_iterator(adapters_folder()))
    if (!fs::exists(entry.path() / "expected.json")) {
      adapter_ = entry.path();
      EXPECT_THAT(why_not(), HasSubstr("adapter " + entry.path().string()));
    }
  use("llama_bf16");
  EXPECT_THAT(why_not(DType::kInt8), HasSubstr("not int8"));
  copy_base();
  fs::resize_file(base_ / "model.safetensors", 9000);
  EXPECT_THAT(why_not(), HasSubstr("download it again"));
  fs::remove(base_ / "model.safetensors");
  EXPECT_THAT(why_not(), HasSubstr("has neither model.safetensors nor"));
  fs::remove(base_ / "config.json");
  EXPECT_THAT(why_not(), HasSubstr("config.json"));
}

// A limit on files stands for a disk that is full: writing fails in the middle.
TEST_F(Merging, ThatCannotBeWrittenLeavesNothing) {
  use("llama_bf16");
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 20'000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string why = why_not();
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(why, HasSubstr("File too large; nothing is left of the merged model"));
}

}  // namespace
}  // namespace orch::model
