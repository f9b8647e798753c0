// A run that is killed at any moment goes on from what it wrote, bit for bit; what is broken is noticed and said.
#include "train/checkpoint.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <csignal>
#include <fstream>
#include <limits>
#include <random>
#include <thread>

#include "base/whole_file.h"
#include "model/safetensors_writer.h"
#include "support/temporary.h"
#include "train/checkpoints.h"
#include "train/checksum.h"
#include "train/stability.h"

namespace {

/// Calls that change what is on the disk, counted; the process ends before the one of this number. 0: it does not.
std::atomic<int> calls = 0, dies_at = 0;

void count() {
  if (++calls == dies_at) ::_exit(9);
}

}  // namespace

// In place of the C library's.
extern "C" int rename(const char* from, const char* to) noexcept {
  count();
  return static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
extern "C" int unlinkat(int folder, const char* name, int flags) noexcept {
  count();
  return static_cast<int>(syscall(SYS_unlinkat, folder, name, flags));
}
extern "C" int fsync(int file) {
  count();
  return static_cast<int>(syscall(SYS_fsync, file));
}

namespace orch::train {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<float> numbers(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> made(count);
  for (float& number : made) number = std::bit_cast<float>(static_cast<std::uint32_t>(random()));  // NaNs, too
  return made;
}

std::vector<std::uint32_t> bits(std::span<const float> row) {
  std::vector<std::uint32_t> made;
  for (const float number : row) made.push_back(std::bit_cast<std::uint32_t>(number));
  return made;
}

constexpr const char* kA = "base_model.model.layers.0.q_proj.lora_A.weight";
constexpr const char* kB = "base_model.model.layers.0.q_proj.lora_B.weight";

Checkpoint checkpoint(std::int64_t step, std::optional<double> loss = std::nullopt, std::int64_t cols = 24) {
  const auto seed = static_cast<std::uint32_t>(step);
  Checkpoint made;
  made.step = step;
  made.loss = loss;
  made.run = {{"seed", 18446744073709551615U}, {"rate", 0.1}, {"below", -0.0}, {"place", {{"line", step}}}};
  for (const auto& [name, rows] : {std::pair{kA, 4}, {kB, 8}}) {
    const auto count = static_cast<std::size_t>(rows * cols);
    const auto more = static_cast<std::uint32_t>(rows);
    made.trained[name] = {
        rows, cols, numbers(count, seed + more), numbers(count, seed + 2 * more), numbers(count, seed + 3 * more), {}};
  }
  return made;
}

fs::path place(const TemporaryFolder& folder, std::int64_t step) { return folder / checkpoint_name(step); }

/// What a program that is not killed leaves.
void put(const TemporaryFolder& folder, const Checkpoint& made) {
  ASSERT_TRUE(fs::create_directory(place(folder, made.step)));
  const auto written = write_checkpoint(place(folder, made.step), made);
  ASSERT_TRUE(written) << written.error().what;
}

std::string text_of_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void put_text(const fs::path& file, std::string_view text) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
}

std::string fault_of(const fs::path& folder) {
  const auto read = read_checkpoint(folder);
  return read ? "" : read.error().what;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename() != "checkpoints.lock") names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::unique_ptr<CheckpointWriter> writer_of(const fs::path& folder, const KeepRules& keep = {}) {
  auto writer = CheckpointWriter::open(folder, keep);
  if (!writer) throw std::runtime_error(writer.error().what);
  return *std::move(writer);
}

/// The step of the newest whole one; -1: none.
std::int64_t newest(const fs::path& folder) {
  const auto found = newest_whole(folder);
  if (!found) throw std::runtime_error(found.error().what);
  return found->checkpoint ? found->checkpoint->state.step : -1;
}

TEST(Checksum, IsXxh64HoweverTheBytesAreCut) {
  // As the reference implementation has them, of (7 i + n) mod 256 for i below n.
  const std::vector<std::pair<std::size_t, std::uint64_t>> known = {
      {0, 0xef46db3751d8e999U},  {1, 0x8a4127811b21e730U},   {3, 0x31d2363f52e564c9U},   {4, 0xb4d516af63f9c743U},
      {7, 0x2163df11c0cdf8cdU},  {8, 0xd5474d6ca50def58U},   {31, 0xc025b4c3c4880c7aU},  {32, 0x178ae25cee6f7994U},
      {33, 0x4072a28263e977efU}, {100, 0x3a7fdc0febf6f5dcU}, {1000, 0x958e6485b0af5378U}};
  for (const auto& [size, value] : known) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((7 * i + size) & 255);
    EXPECT_EQ(checksum(bytes), value) << size;
    for (const std::size_t cut : {1U, 5U, 31U, 32U, 40U}) {
      Checksum sum;
      for (std::size_t at = 0; at < size; at += cut)
        sum.add(std::span(bytes).subspan(at, std::min<std::size_t>(cut, size - at)));
      EXPECT_EQ(sum.value(), value) << size << " by " << cut;
    }
  }
}

TEST(Checkpoint, ComesBackBitForBit) {
  const TemporaryFolder folder;
  Checkpoint made = checkpoint(123, 1.5);
  for (auto& [name, matrix] : made.trained) matrix.average = numbers(matrix.values.size(), 9);
  // Numbers that a comparison, a conversion or a text would change.
  made.trained[kA].values[0] = -0.0F;
  made.trained[kA].values[1] = std::bit_cast<float>(0x7fa12345U);  // a signalling NaN
  made.trained[kA].values[2] = std::bit_cast<float>(0xffc00001U);
  made.trained[kA].values[3] = std::numeric_limits<float>::denorm_min();
  put(folder, made);
  const auto read = read_checkpoint(place(folder, 123));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_EQ(read->state.step, 123);
  EXPECT_EQ(read->state.loss, 1.5);
  EXPECT_EQ(read->state.run.dump(), made.run.dump());
  EXPECT_TRUE(std::signbit(read->state.run["below"].get<double>()));
  ASSERT_THAT(read->trained, SizeIs(2));
  for (const auto& [name, matrix] : made.trained) {
    const TrainedView& view = read->trained.at(name);
    EXPECT_EQ(view.rows, matrix.rows);
    EXPECT_EQ(view.cols, matrix.cols);
    EXPECT_EQ(bits(view.values), bits(matrix.values));
    EXPECT_EQ(bits(view.first), bits(matrix.first));
    EXPECT_EQ(bits(view.second), bits(matrix.second));
    EXPECT_EQ(bits(view.average), bits(matrix.average));
  }
}

TEST(Checkpoint, KeepsTheStateOfARunToTheLastBit) {
  const TemporaryFolder folder;
  StabilityState state;
  std::mt19937_64 random(7);
  while (state.losses.size() < 64) {
    const double number = std::bit_cast<double>(random());
    if (std::isfinite(number)) state.losses.push_back(number), state.norms.push_back(-number);
  }
  Checkpoint made = checkpoint(1);
  made.run["stability"] = json_of(state);
  put(folder, made);
  const auto read = read_checkpoint(place(folder, 1));
  ASSERT_TRUE(read) << read.error().what;
  const auto back = read_stability_state(read->state.run["stability"]);
  ASSERT_TRUE(back);
  for (std::size_t i = 0; i < 64; ++i)
    EXPECT_EQ(std::bit_cast<std::uint64_t>(back->losses[i]), std::bit_cast<std::uint64_t>(state.losses[i]));
}

TEST(Checkpoint, HasAnAdapterThatIsReadAlone) {
  const TemporaryFolder folder;
  Checkpoint made = checkpoint(5);
  made.adapter.emplace();
  made.adapter->base = "a/model";
  made.adapter->modules.push_back(
      {"model.layers.0.self_attn.q_proj", 16, 4, 4, 6, 5, std::vector<float>(24, 0.5F), std::vector<float>(20, 2)});
  put(folder, made);
  const auto read = read_checkpoint(place(folder, 5));
  ASSERT_TRUE(read) << read.error().what;
  EXPECT_THAT(read->state.files, SizeIs(3));
  const auto adapter = model::read_peft(place(folder, 5) / "adapter");
  ASSERT_TRUE(adapter) << adapter.error().what;
  EXPECT_EQ(adapter->modules.at(0).b, made.adapter->modules[0].b);
  fs::remove(place(folder, 5) / "adapter" / "adapter_config.json");
  EXPECT_EQ(fault_of(place(folder, 5)), "adapter/adapter_config.json is not there");
}

TEST(Checkpoint, IsRefusedWhenItCouldNotBeReadAgain) {
  const TemporaryFolder folder;
  const auto refusal = [&](const std::function<void(Checkpoint&)>& change) {
    Checkpoint made = checkpoint(3);
    change(made);
    const auto written = write_checkpoint(folder.path(), made);
    return written ? "" : written.error().what;
  };
  EXPECT_EQ(refusal([](Checkpoint&) {}), "");
  EXPECT_THAT(refusal([](Checkpoint& it) { it.run["rate"] = std::nan(""); }), HasSubstr("a number that JSON does not"));
  EXPECT_THAT(refusal([](Checkpoint& it) { it.run["name"] = "\xff"; }), HasSubstr("UTF-8"));
  EXPECT_THAT(refusal([](Checkpoint& it) { it.run = json::array(); }), HasSubstr("no JSON object"));
  EXPECT_THAT(refusal([](Checkpoint& it) { it.loss = std::nan(""); }), HasSubstr("no finite number"));
  EXPECT_THAT(refusal([](Checkpoint& it) { it.step = kMostSteps + 1; }), HasSubstr("steps go from 0 to"));
  EXPECT_THAT(refusal([](Checkpoint& it) { it.trained.clear(); }), HasSubstr("no trained matrix"));
  EXPECT_THAT(refusal([](Checkpoint& it) { it.trained[kA].second.pop_back(); }),
              HasSubstr(std::string("'second/") + kA + "' has 95 numbers, and its matrix is of 4 × 24"));
  EXPECT_THAT(refusal([](Checkpoint& it) { it.trained[kA].average = it.trained[kA].values; }),
              HasSubstr(std::string("'average/") + kB + "' has 0 numbers"));
  EXPECT_THAT(refusal([](Checkpoint& it) { it.trained[kB].average = it.trained[kB].values; }),
              HasSubstr("of all matrices or of none"));
}

TEST(Checkpoint, IsNoticedToBeDamagedWhateverByteIsAnother) {
  const TemporaryFolder folder;
  Checkpoint made = checkpoint(3, 2.0, 2);
  made.run["losses"] = {1.25, 2.5};
  put(folder, made);
  for (const char* name : {"state.json", "state.safetensors"}) {
    const fs::path file = place(folder, 3) / name;
    const std::string good = text_of_file(file);
    std::fstream in_place(file, std::ios::binary | std::ios::in | std::ios::out);
    const auto set = [&](std::size_t at, int byte) {
      in_place.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(byte)).flush();
    };
    for (std::size_t at = 0; at < good.size(); ++at) {
      set(at, good[at] ^ (1 << at % 8));
      ASSERT_THAT(fault_of(place(folder, 3)), HasSubstr(name)) << at;
      set(at, good[at]);
    }
    ASSERT_EQ(fault_of(place(folder, 3)), "");
    for (std::size_t size = good.size(); size-- > 0;) {
      fs::resize_file(file, size);
      ASSERT_THAT(fault_of(place(folder, 3)), HasSubstr(name)) << size;
    }
    put_text(file, good + "\n");
    EXPECT_THAT(fault_of(place(folder, 3)), HasSubstr(name));
    put_text(file, good);
    EXPECT_EQ(fault_of(place(folder, 3)), "");
  }
}

TEST(Checkpoint, IsRefusedWithReasonWhereItsFilesAreNoFiles) {
  const TemporaryFolder folder;
  put(folder, checkpoint(1));
  const fs::path numbers = place(folder, 1) / "state.safetensors", state = place(folder, 1) / "state.json";
  fs::rename(numbers, folder / "elsewhere");
  EXPECT_EQ(fault_of(place(folder, 1)), "state.safetensors is not there");
  fs::create_symlink(folder / "elsewhere", numbers);
  EXPECT_EQ(fault_of(place(folder, 1)), "state.safetensors is a link, and a checkpoint's files are its own");
  fs::remove(numbers);
  fs::create_directory(numbers);
  EXPECT_EQ(fault_of(place(folder, 1)), "state.safetensors is no file");
  fs::remove(numbers);
  ASSERT_EQ(::mkfifo(numbers.c_str(), 0600), 0);
  EXPECT_EQ(fault_of(place(folder, 1)), "state.safetensors is no file");
  fs::remove(state);
  EXPECT_EQ(fault_of(place(folder, 1)), "state.json is not there");
  fs::create_directory_symlink(place(folder, 1), place(folder, 2));
  EXPECT_EQ(fault_of(place(folder, 2)), "it is no folder, but a link or a file");
}

TEST(CheckpointState, OfAnotherTypeIsRefusedWithAReason) {
  const std::string files = R"("files":{"state.safetensors":{"bytes":1,"checksum":"00000000000000ff"}})";
  const auto fault = [](const std::string& text) {
    const auto state = parse_state(sealed(text));
    return state ? "" : state.error().what;
  };
  const std::string good = R"({"format":1,"step":5,"run":{},)" + files + "}";
  EXPECT_EQ(fault(good), "");
  EXPECT_EQ(fault("[]"), "state.json does not begin with its checksum");
  EXPECT_THAT(fault("{"), HasSubstr("is no JSON"));
  EXPECT_THAT(fault("{}"), HasSubstr("is no JSON")) << "a comma would stand before nothing";
  EXPECT_THAT(fault(R"({"format":1,"format":1})"), HasSubstr("stands there twice"));
  EXPECT_THAT(fault(R"({"format":"1"})"), HasSubstr("does not say its format"));
  EXPECT_THAT(fault(R"({"format":0})"), HasSubstr("unknown format 0"));
  EXPECT_THAT(fault(R"({"format":1,"step":5,"run":{}})"), HasSubstr("has not the keys"));
  EXPECT_THAT(fault(R"({"format":1,"step":5,"run":{},"more":1,)" + files + "}"), HasSubstr("has not the keys"));
  for (const char* step : {"-1", "1.0", "\"1\"", "1000000000001", "null"})
    EXPECT_THAT(fault(R"({"format":1,"run":{},"step":)" + std::string(step) + "," + files + "}"),
                HasSubstr("has no step from 0 to 1000000000000"));
  EXPECT_THAT(fault(R"({"format":1,"step":5,"run":[],)" + files + "}"), HasSubstr("a run that is no object"));
  EXPECT_THAT(fault(R"({"format":1,"step":5,"run":{},"loss":"low",)" + files + "}"), HasSubstr("a loss that is no"));
  EXPECT_THAT(fault(R"({"format":1,"step":5,"run":{},"loss":1e999,)" + files + "}"), HasSubstr("is no JSON"));
  const auto with = [&](const std::string& name, const std::string& value) {
    return fault(R"({"format":1,"step":5,"run":{},"files":{")" + name + "\":" + value + "}}");
  };
  for (const char* name : {"../state.safetensors", "/etc/passwd", "adapter/../../x", "", "state.json"})
    EXPECT_THAT(with(name, R"({"bytes":1,"checksum":"00000000000000ff"})"), HasSubstr("which is no file of a"));
  for (const char* value :
       {"null", "[]", "{}", R"({"bytes":-1,"checksum":"00000000000000ff"})", R"({"bytes":1,"checksum":"ff"})",
        R"({"bytes":1,"checksum":255})", R"({"bytes":1,"checksum":"00000000000000FF"})",
        R"({"bytes":1,"checksum":"00000000000000ff","path":"x"})"})
    EXPECT_THAT(with("state.safetensors", value), HasSubstr("does not say size and checksum of"));
  EXPECT_THAT(fault(R"({"format":1,"step":5,"run":{},"files":{}})"), HasSubstr("does not name state.safetensors"));
  std::string half = good;
  half.insert(half.find("\"state.safe"), R"("adapter/adapter_config.json":{"bytes":1,"checksum":"00000000000000ff"},)");
  EXPECT_THAT(fault(half), HasSubstr("a half of the adapter"));
}

TEST(CheckpointRows, OfAnotherShapeAreRefusedWithAReason) {
  const TemporaryFolder folder;
  const std::vector<float> six(6);
  const auto row = [&](std::int64_t rows, std::int64_t cols) {
    return model::WrittenTensor{
        model::Stored::kF32, {rows, cols}, std::as_bytes(std::span(six).first(static_cast<std::size_t>(rows * cols)))};
  };
  const auto fault = [&](const std::map<std::string, model::WrittenTensor>& tensors) {
    if (!model::write_safetensors(folder / "rows", tensors)) throw std::runtime_error("not written");
    const auto file = model::Safetensors::open(folder / "rows");
    if (!file) throw std::runtime_error(file.error().what);
    const auto trained = trained_of(*file);
    return trained ? "" : trained.error().what;
  };
  const auto r = row(2, 3);
  EXPECT_EQ(fault({{"values/m", r}, {"first/m", r}, {"second/m", r}}), "");
  EXPECT_THAT(fault({}), HasSubstr("no matrix in it"));
  EXPECT_THAT(fault({{"values/m", r}, {"first/m", r}}), HasSubstr("other rows than it should"));
  EXPECT_THAT(fault({{"values/m", r}, {"first/m", r}, {"second/m", row(3, 2)}}), HasSubstr("of another size"));
  EXPECT_THAT(fault({{"third/m", r}}), HasSubstr("no row of a matrix"));
  EXPECT_THAT(fault({{"values/", r}}), HasSubstr("no row of a matrix"));
  EXPECT_THAT(fault({{"values/m", row(0, 3)}}), HasSubstr("no matrix of F32"));
  auto flat = r;
  flat.shape = {6};
  EXPECT_THAT(fault({{"values/m", flat}}), HasSubstr("no matrix of F32"));
  EXPECT_THAT(fault({{"values/m", r},
                     {"first/m", r},
                     {"second/m", r},
                     {"average/m", r},
                     {"values/n", r},
                     {"first/n", r},
                     {"second/n", r}}),
              HasSubstr("matrix 'n' has other rows than it should"));
}

TEST(CheckpointWritten, ComesBackAndIsOfAFormatThatOldProgramsLeaveAlone) {
  const TemporaryFolder folder;
  Checkpoint made = checkpoint(1);
  put(folder, made);
  made.step = 2;
  made.written = std::string("\0\xff any bytes\n", 13);
  put(folder, made);
  const auto without = read_checkpoint(place(folder, 1)), with = read_checkpoint(place(folder, 2));
  ASSERT_TRUE(without && with);
  EXPECT_EQ(without->written, "");
  EXPECT_EQ(with->written, made.written);
  EXPECT_EQ(with->trained.size(), 2U);
  EXPECT_EQ(without->state.format, 1U) << "programs before know no other";
  EXPECT_EQ(with->state.format, 2U);
}

TEST(CheckpointWritten, OfAnotherTypeIsRefused) {
  const TemporaryFolder folder;
  const std::vector<float> six(6);
  const auto written = [&](const model::WrittenTensor& tensor) {
    if (!model::write_safetensors(folder / "rows", {{"written", tensor}})) throw std::runtime_error("not written");
    const auto file = model::Safetensors::open(folder / "rows");
    if (!file) throw std::runtime_error(file.error().what);
    const auto read = written_of(*file);
    return read ? *read : read.error().what;
  };
  const auto bytes = std::as_bytes(std::span(six));
  EXPECT_EQ(written({model::Stored::kU8, {24}, bytes}), std::string(24, '\0'));
  EXPECT_THAT(written({model::Stored::kF32, {6}, bytes}), HasSubstr("is no list of U8"));
  EXPECT_THAT(written({model::Stored::kU8, {2, 12}, bytes}), HasSubstr("is no list of U8"));
}

TEST(NewestWhole, IsNoneWhereNothingIsThere) {
  const TemporaryFolder folder;
  EXPECT_EQ(newest(folder / "no run yet"), -1);
  EXPECT_EQ(newest(folder.path()), -1);
  put_text(folder / "file", "");
  EXPECT_FALSE(newest_whole(folder / "file"));
}

TEST(NewestWhole, PassesOverWhatIsBrokenAndSaysWhy) {
  const TemporaryFolder folder;
  for (const std::int64_t step : {5, 40, 300, 2000}) put(folder, checkpoint(step));
  EXPECT_EQ(newest(folder.path()), 2000);
  fs::resize_file(place(folder, 2000) / "state.safetensors", 100);
  std::string flipped = text_of_file(place(folder, 300) / "state.safetensors");
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  put_text(place(folder, 300) / "state.safetensors", flipped);
  fs::rename(place(folder, 40), place(folder, 41));
  const auto found = newest_whole(folder.path());
  ASSERT_TRUE(found && found->checkpoint);
  EXPECT_EQ(found->checkpoint->state.step, 5);
  EXPECT_EQ(found->checkpoint->folder, place(folder, 5));
  EXPECT_THAT(found->passed_over,
              ElementsAre(HasSubstr("step-0000000002000 is passed over: state.safetensors is not whole: it has 100 by"),
                          HasSubstr("step-0000000000300 is passed over: state.safetensors is damaged: its checksum"),
                          HasSubstr("step-0000000000041 is passed over: state.json says that it is of step 40")));
}

TEST(NewestWhole, RefusesANewerFormatRatherThanGoingBackBehindIt) {
  const TemporaryFolder folder;
  put(folder, checkpoint(1));
  fs::create_directory(place(folder, 2));
  put_text(place(folder, 2) / "state.json", sealed(R"({"format":3,"whatever":"comes"})"));
  const auto found = newest_whole(folder.path());
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().what, HasSubstr("a newer version wrote it"));
  // A flipped bit makes no newer version.
  std::string text = text_of_file(place(folder, 2) / "state.json");
  text[text.find(":3") + 1] = '4';
  put_text(place(folder, 2) / "state.json", text);
  EXPECT_EQ(newest(folder.path()), 1);
}

TEST(CheckpointNames, SortAsStepsDo) {
  EXPECT_EQ(checkpoint_name(123), "step-0000000000123");
  EXPECT_EQ(checkpoint_name(kMostSteps), "step-1000000000000");
  const TemporaryFolder folder;
  for (const std::int64_t step : {999999, 1000000, 0}) put(folder, checkpoint(step));
  EXPECT_EQ(newest(folder.path()), 1000000);
  put(folder, checkpoint(kMostSteps));
  EXPECT_EQ(newest(folder.path()), kMostSteps);
  // None of ours.
  for (const char* name : {"step-1", "step-00000000000001", "step-000000000000x", "step-0000000000001.tar",
                           "step-9999999999999", "step--000000000001"})
    fs::create_directory(folder / name);
  EXPECT_THAT(newest_whole(folder.path())->passed_over, IsEmpty());
}

TEST(CheckpointWriter, WritesWhileTheRunGoesOn) {
  const TemporaryFolder folder;
  const auto writer = writer_of(folder / "run");
  EXPECT_EQ(writer->confirmed(), std::nullopt);
  for (const std::int64_t step : {10, 20, 30}) ASSERT_TRUE(writer->write(checkpoint(step)));
  EXPECT_GE(writer->confirmed().value(), 20) << "the third waited for the second";
  ASSERT_TRUE(writer->wait());
  EXPECT_EQ(writer->confirmed(), 30);
  EXPECT_EQ(newest(folder / "run"), 30);
}

TEST(CheckpointWriter, KeepsTheNewestAndTheBest) {
  const TemporaryFolder folder;
  put_text(folder / "notes.txt", "of the user");
  const auto writer = writer_of(folder.path(), {2, 2});
  const std::vector<double> losses = {3, 1, 5, 2, 6, 7, 8};
  for (std::size_t i = 0; i < losses.size(); ++i) {
    ASSERT_TRUE(writer->write(checkpoint(static_cast<std::int64_t>(i + 1), losses[i])));
    ASSERT_TRUE(writer->wait());
  }
  EXPECT_THAT(names_in(folder.path()),
              ElementsAre("notes.txt", checkpoint_name(2), checkpoint_name(4), checkpoint_name(6), checkpoint_name(7)));
}

TEST(CheckpointWriter, KeepsABrokenOneNeitherAsNewestNorAsBest) {
  const TemporaryFolder folder;
  for (const std::int64_t step : {1, 2, 3}) put(folder, checkpoint(step, 0.1));
  fs::remove(place(folder, 3) / "state.safetensors");
  const auto writer = writer_of(folder.path(), {2, 0});
  ASSERT_TRUE(writer->write(checkpoint(4)));
  ASSERT_TRUE(writer->wait());
  EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(2), checkpoint_name(4)));
}

TEST(CheckpointWriter, NeverRemovesWhatItHasJustWrittenNorANewerFormat) {
  const TemporaryFolder folder;
  put(folder, checkpoint(8));
  put(folder, checkpoint(9));
  fs::create_directory(place(folder, 1));
  put_text(place(folder, 1) / "state.json", sealed(R"({"format":3,"whatever":"comes"})"));
  const auto writer = writer_of(folder.path(), {1, 0});
  ASSERT_TRUE(writer->write(checkpoint(3)));  // behind others: their run was left
  ASSERT_TRUE(writer->wait());
  EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(1), checkpoint_name(3), checkpoint_name(9)));
}

TEST(CheckpointWriter, ReplacesTheSameStepAndForgetsLaterOnes) {
  const TemporaryFolder folder;
  const auto writer = writer_of(folder.path(), {3, 0});
  for (const std::int64_t step : {10, 20, 30}) ASSERT_TRUE(writer->write(checkpoint(step)));
  ASSERT_TRUE(writer->forget_after(20));
  EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(10), checkpoint_name(20)));
  Checkpoint again = checkpoint(20);
  again.run["again"] = true;
  ASSERT_TRUE(writer->write(again));
  ASSERT_TRUE(writer->wait());
  EXPECT_TRUE(newest_whole(folder.path())->checkpoint->state.run.contains("again"));
  EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(10), checkpoint_name(20)));
}

TEST(CheckpointWriter, HasItsFolderAlone) {
  const TemporaryFolder folder;
  {
    const auto writer = writer_of(folder.path());
    const auto second = CheckpointWriter::open(folder.path(), {});
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().what, HasSubstr("are being written by process " + std::to_string(::getpid())));
  }
  EXPECT_TRUE(CheckpointWriter::open(folder.path(), {}));
}

TEST(CheckpointWriter, TellsAnErrorOnceAndTriesTheNext) {
  const TemporaryFolder folder;
  const auto writer = writer_of(folder / "run");
  Checkpoint bad = checkpoint(2);
  bad.trained[kA].values.pop_back();
  ASSERT_TRUE(writer->write(checkpoint(1)));
  ASSERT_TRUE(writer->write(bad));
  const auto told = writer->write(checkpoint(3));
  ASSERT_FALSE(told);
  EXPECT_THAT(told.error().what, HasSubstr("the checkpoint of step 2 cannot be written: 'values/"));
  EXPECT_TRUE(writer->wait());
  EXPECT_EQ(writer->confirmed(), 3);
  EXPECT_THAT(names_in(folder / "run"), ElementsAre(checkpoint_name(1), checkpoint_name(3)));
  fs::remove_all(folder / "run");
  ASSERT_TRUE(writer->write(checkpoint(4)));
  const auto gone = writer->wait();
  ASSERT_FALSE(gone);
  EXPECT_THAT(gone.error().what, HasSubstr("No such file or directory"));
  EXPECT_FALSE(fs::exists(folder / "run")) << "a run that somebody removed stays removed";
}

/// For as long as it lives no file of this process grows past `bytes`: as on a full disk, but that needs no rights.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
  void (*signal_)(int);
};

TEST(FullDisk, TakesNothingAwayAndIsToldAndTheNextOneIsTried) {
  const TemporaryFolder folder;
  const auto writer = writer_of(folder.path(), {1, 0});
  ASSERT_TRUE(writer->write(checkpoint(1)));
  ASSERT_TRUE(writer->wait());
  {
    const FileLimit full(100'000);
    ASSERT_TRUE(writer->write(checkpoint(2, std::nullopt, 10'000)));
    const auto told = writer->wait();
    ASSERT_FALSE(told);
    EXPECT_THAT(told.error().what, HasSubstr("the checkpoint of step 2 cannot be written: cannot write"));
    EXPECT_EQ(newest(folder.path()), 1);
    // Also where it was to replace another.
    ASSERT_TRUE(writer->write(checkpoint(1, std::nullopt, 10'000)));
    EXPECT_FALSE(writer->wait());
    EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(1))) << "its rest takes no room";
    EXPECT_EQ(newest(folder.path()), 1);
  }
  ASSERT_TRUE(writer->write(checkpoint(3, std::nullopt, 10'000)));
  ASSERT_TRUE(writer->wait());
  EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(3)));
}

TEST(Crash, InTheMiddleOfAStepLeavesWhatIsClearedAtTheNextStart) {
  const TemporaryFolder folder;
  put(folder, checkpoint(1));
  // While 2 was written, 3 replaced, and 4 and 5 removed.
  fs::create_directory(folder / (checkpoint_name(2) + ".new"));
  put_text(folder / (checkpoint_name(2) + ".new") / "state.json.new", "{");
  put(folder, checkpoint(3));
  fs::rename(place(folder, 3), folder / (checkpoint_name(3) + ".old"));
  put(folder, checkpoint(4));
  fs::rename(place(folder, 4), folder / (checkpoint_name(4) + ".gone"));
  fs::create_directory(folder / (checkpoint_name(5) + ".gone"));
  EXPECT_EQ(newest(folder.path()), 3) << "also for who does not clear up";
  writer_of(folder.path());
  EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(1), checkpoint_name(3)));
  EXPECT_EQ(newest(folder.path()), 3);
  // After 3 was replaced, and before the older one was removed.
  fs::create_directory(folder / (checkpoint_name(3) + ".old"));
  writer_of(folder.path());
  EXPECT_THAT(names_in(folder.path()), ElementsAre(checkpoint_name(1), checkpoint_name(3)));
}

TEST(Crash, BeforeAnyChangeOfTheDiskLeavesTheLastConfirmedOrTheNext) {
  int deaths = 0;
  for (int at = 1;; ++at) {
    const TemporaryFolder folder;
    for (const std::int64_t step : {1, 2, 3}) put(folder, checkpoint(step, 3));
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      calls = 0;
      dies_at = at;
      const auto writer = CheckpointWriter::open(folder.path(), {1, 1});
      // The newest is replaced, and then there is a newer one.
      for (const std::int64_t step : {3, 4})
        if (!writer || !(*writer)->write(checkpoint(step, 2)) || !(*writer)->wait()) ::_exit(1);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status) && (WEXITSTATUS(status) == 9 || WEXITSTATUS(status) == 0));
    const auto found = newest_whole(folder.path());
    ASSERT_TRUE(found && found->checkpoint) << at;
    EXPECT_GE(found->checkpoint->state.step, 3) << "killed before call " << at;
    EXPECT_THAT(found->passed_over, IsEmpty()) << at;
    writer_of(folder.path());
    EXPECT_EQ(newest(folder.path()), found->checkpoint->state.step) << "clearing up changes nothing";
    for (const std::string& name : names_in(folder.path())) EXPECT_THAT(name, SizeIs(18)) << "nothing is left over";
    if (WEXITSTATUS(status) == 0) break;
    ++deaths;
  }
  EXPECT_GT(deaths, 20);
}

/// A run that writes until it is killed, and says what is safe.
[[noreturn]] void write_until_killed(const fs::path& folder, int out, std::int64_t from) {
  const auto writer = CheckpointWriter::open(folder, {2, 1});
  if (!writer) ::_exit(1);
  for (std::int64_t step = from;; ++step) {
    // Every third is written a second time, as by a run that went back.
    for (int times = step % 3 == 0 ? 2 : 1; times > 0; --times) {
      if (!(*writer)->write(checkpoint(step, 1.0 / static_cast<double>(step + 1)))) ::_exit(2);
      if (!(*writer)->wait()) ::_exit(3);
      if (::write(out, &step, sizeof step) != sizeof step) ::_exit(4);
    }
  }
}

TEST(Crash, AtAnyMomentLeavesAWholeCheckpointNoOlderThanTheLastConfirmed) {
  using Clock = std::chrono::steady_clock;
  const TemporaryFolder folder;
  std::mt19937 random(1);
  std::int64_t confirmed = -1;
  Clock::duration of_a_step{};  // here: disks differ a hundredfold in what a sync takes
  for (int round = 0; round < 50; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const Clock::time_point began = Clock::now();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(ends[0]);
      write_until_killed(folder.path(), ends[1], confirmed + 1);
    }
    ::close(ends[1]);
    // Some are killed before they have written anything, others in a later write.
    for (int wait = round == 0 ? 1 : round % 3; wait > 0; --wait)
      ASSERT_EQ(::read(ends[0], &confirmed, sizeof confirmed), ssize_t{sizeof confirmed});
    if (round == 0) of_a_step = Clock::now() - began;
    std::this_thread::sleep_for(of_a_step * static_cast<int>(random() % 1000) / 500);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself, with " << WEXITSTATUS(status);
    for (std::int64_t step = 0; ::read(ends[0], &step, sizeof step) == sizeof step;) confirmed = step;
    ::close(ends[0]);
    const auto found = newest_whole(folder.path());
    ASSERT_TRUE(found) << found.error().what;
    ASSERT_TRUE(found->checkpoint);
    const std::int64_t step = found->checkpoint->state.step;
    ASSERT_GE(step, confirmed);
    ASSERT_LE(step, confirmed + 1);
    const Checkpoint made = checkpoint(step, 1.0 / static_cast<double>(step + 1));
    ASSERT_EQ(bits(found->checkpoint->trained.at(kA).second), bits(made.trained.at(kA).second));
    EXPECT_THAT(found->passed_over, IsEmpty()) << "what has its name is whole";
  }
  EXPECT_GT(confirmed, 5);
}

}  // namespace
}  // namespace orch::train
