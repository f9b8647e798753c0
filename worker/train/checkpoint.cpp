#include "train/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/descriptor.h"
#include "base/text.h"
#include "base/whole_file.h"
#include "model/safetensors_writer.h"
#include "train/checksum.h"
#include "train/strict_json.h"

namespace orch::train {

namespace fs = std::filesystem;
using model::Stored;
using nlohmann::json;

namespace {

constexpr std::string_view kState = "state.json", kNumbers = "state.safetensors";
constexpr std::string_view kWritten = "written";  ///< no row's name, which has a slash
constexpr std::uint64_t kFormatOfWritten = 2;
constexpr std::string_view kAdapterConfig = "adapter/adapter_config.json",
                           kAdapterNumbers = "adapter/adapter_model.safetensors";
/// A run's state is some thousand numbers.
constexpr std::size_t kMostState = 16 << 20;
constexpr std::size_t kAtOnce = 1 << 20;

constexpr std::string_view kSealBegin = R"({"checksum":")", kSealEnd = "\",";
constexpr std::size_t kHexDigits = 16;
constexpr std::size_t kSeal = kSealBegin.size() + kHexDigits + kSealEnd.size();

struct RowName {
  std::string_view prefix;
  std::vector<float> Trained::*written;
  std::span<const float> TrainedView::*read;
};
constexpr std::array kRows = {
    RowName{"values/", &Trained::values, &TrainedView::values},
    RowName{"first/", &Trained::first, &TrainedView::first},
    RowName{"second/", &Trained::second, &TrainedView::second},
    RowName{"average/", &Trained::average, &TrainedView::average},
};

std::string hex(std::uint64_t value) {
  std::string text(kHexDigits, '0');
  for (std::size_t i = kHexDigits; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

std::optional<std::uint64_t> from_hex(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size() || hex(value) != text) return std::nullopt;
  return value;
}

std::uint64_t checksum_of(std::string_view text) {
  return checksum(std::as_bytes(std::span(text.data(), text.size())));
}

/// What stands in the way of writing it, or nothing.
std::string misfit(const Checkpoint& checkpoint) {
  if (checkpoint.step < 0 || checkpoint.step > kMostSteps)
    return "its step is " + std::to_string(checkpoint.step) + ", and steps go from 0 to " + std::to_string(kMostSteps);
  if (checkpoint.loss && !std::isfinite(*checkpoint.loss)) return "its loss is no finite number";
  if (!checkpoint.run.is_object()) return "what the run goes on with is no JSON object";
  if (checkpoint.trained.empty()) return "it has no trained matrix";
  const bool has_average = !checkpoint.trained.begin()->second.average.empty();
  for (const auto& [name, matrix] : checkpoint.trained) {
    if (name.empty()) return "one of its matrices has no name";
    for (const RowName& row : kRows) {
      const std::vector<float>& numbers = matrix.*row.written;
      if (row.written == &Trained::average && !has_average) {
        if (numbers.empty()) continue;
        return "an average is kept of all matrices or of none";
      }
      const auto rows = static_cast<std::uint64_t>(matrix.rows), cols = static_cast<std::uint64_t>(matrix.cols);
      if (matrix.rows <= 0 || matrix.cols <= 0 || numbers.size() % cols != 0 || numbers.size() / cols != rows)
        return quote(std::string(row.prefix) + name) + " has " + std::to_string(numbers.size()) +
               " numbers, and its matrix is of " + std::to_string(matrix.rows) + " × " + std::to_string(matrix.cols);
    }
  }
  return "";
}

std::string system_words() { return std::strerror(errno); }

/// A file of a checkpoint: not by a link, neither of its own nor of a folder on the way from the checkpoint's.
Result<Descriptor> open_inside(const Descriptor& folder, std::string_view name) {
  const std::string text(name);
  Descriptor within;
  std::size_t from = 0;
  for (std::size_t slash = text.find('/'); slash != std::string::npos; slash = text.find('/', from)) {
    const std::string part = text.substr(from, slash - from);
    Descriptor next(::openat(within.is_open() ? within.get() : folder.get(), part.c_str(),
                             O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next.is_open()) return Error{text + " cannot be read: the folder " + part + ": " + system_words()};
    within = std::move(next);
    from = slash + 1;
  }
  // Not blocking: what has a file's name may be a pipe.
  Descriptor file(::openat(within.is_open() ? within.get() : folder.get(), text.c_str() + from,
                           O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.is_open() && errno == ENOENT) return Error{text + " is not there"};
  if (!file.is_open() && errno == ELOOP) return Error{text + " is a link, and a checkpoint's files are its own"};
  if (!file.is_open()) return Error{text + " cannot be read: " + system_words()};
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return Error{text + " cannot be read: " + system_words()};
  if (!S_ISREG(about.st_mode)) return Error{text + " is no file"};
  return file;
}

Result<Descriptor> open_folder(const fs::path& folder) {
  Descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (opened.is_open()) return opened;
  if (errno == ENOTDIR || errno == ELOOP) return Error{"it is no folder, but a link or a file"};
  return Error{"it cannot be read: " + system_words()};
}

Result<std::uint64_t> size_of(const Descriptor& file, std::string_view name) {
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return Error{std::string(name) + " cannot be read: " + system_words()};
  return static_cast<std::uint64_t>(about.st_size);
}

/// Up to `most` bytes, from where the file stands.
Result<std::string> read_part(const Descriptor& file, std::string_view name, std::size_t most) {
  std::string text(most, '\0');
  std::size_t size = 0;
  while (size < most) {
    const ssize_t got = ::read(file.get(), text.data() + size, most - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{std::string(name) + " cannot be read: " + system_words()};
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

/// As the disk gives it back: not by way of the map, in which a broken disk is a signal.
Result<CheckpointFile> measure(const Descriptor& folder, std::string_view name) {
  auto file = open_inside(folder, name);
  if (!file) return file.error();
  CheckpointFile measured;
  Checksum sum;
  for (;;) {
    const auto part = read_part(*file, name, kAtOnce);
    if (!part) return part.error();
    if (part->empty()) break;
    sum.add(std::as_bytes(std::span(part->data(), part->size())));
    measured.bytes += part->size();
  }
  measured.checksum = sum.value();
  return measured;
}

std::string wrong_size(std::string_view name, std::uint64_t is, std::uint64_t was) {
  return std::string(name) + " is not whole: it has " + std::to_string(is) + " bytes, and was written with " +
         std::to_string(was);
}

Result<CheckpointState, CheckpointFault> look_at(const Descriptor& folder) {
  const auto file = open_inside(folder, kState);
  if (!file) return CheckpointFault{file.error().what};
  const auto length = size_of(*file, kState);
  if (!length) return CheckpointFault{length.error().what};
  if (*length > kMostState) return CheckpointFault{"state.json is larger than any that is written"};
  const auto text = read_part(*file, kState, kMostState + 1);
  if (!text) return CheckpointFault{text.error().what};
  auto state = parse_state(*text);
  if (!state) return state;
  for (const auto& [name, written] : state->files) {
    const auto other = open_inside(folder, name);
    if (!other) return CheckpointFault{other.error().what};
    const auto size = size_of(*other, name);
    if (!size) return CheckpointFault{size.error().what};
    if (*size != written.bytes) return CheckpointFault{wrong_size(name, *size, written.bytes)};
  }
  return state;
}

std::optional<std::uint64_t> whole(const json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end() || !at->is_number_unsigned()) return std::nullopt;
  return at->get<std::uint64_t>();
}

/// Whether an object has the keys that it must have, and none but those and `also`.
bool has_keys(const json& object, std::initializer_list<std::string_view> must, std::string_view also = "") {
  if (!object.is_object()) return false;
  std::size_t met = 0;
  for (const auto& [key, value] : object.items()) {
    if (std::find(must.begin(), must.end(), key) != must.end())
      ++met;
    else if (also.empty() || key != also)
      return false;
  }
  return met == must.size();
}

}  // namespace

std::string sealed(std::string_view object) {
  if (!object.starts_with('{')) return "";
  const std::string rest = "\n" + std::string(object.substr(1));
  return std::string(kSealBegin) + hex(checksum_of(rest)) + std::string(kSealEnd) + rest;
}

std::string text_of(const CheckpointState& state) {
  json files = json::object();
  for (const auto& [name, file] : state.files) files[name] = {{"bytes", file.bytes}, {"checksum", hex(file.checksum)}};
  json object = {{"format", state.format}, {"step", state.step}, {"run", state.run}, {"files", std::move(files)}};
  if (state.loss) object["loss"] = *state.loss;
  return sealed(object.dump(1) + "\n");
}

Result<CheckpointState, CheckpointFault> parse_state(std::string_view text) {
  const auto problem = [](const std::string& what) { return CheckpointFault{"state.json " + what}; };
  if (text.size() < kSeal || !text.starts_with(kSealBegin) || text.substr(kSeal - kSealEnd.size(), 2) != kSealEnd)
    return problem("does not begin with its checksum");
  if (from_hex(text.substr(kSealBegin.size(), kHexDigits)) != checksum_of(text.substr(kSeal)))
    return problem("is damaged, or not whole: its checksum is not that of what it holds");
  auto parsed = parse_strict(text, {});
  if (!parsed) return problem("is no JSON: " + shown(parsed.error().what));
  const json object(*std::move(parsed));
  const auto format = object.is_object() ? whole(object, "format") : std::nullopt;
  if (!format) return problem("does not say its format");
  if (*format > kCheckpointFormat) {
    CheckpointFault fault =
        problem("is of format " + std::to_string(*format) + ", and this program knows formats up to " +
                std::to_string(kCheckpointFormat) + ": a newer version wrote it, and can go on from it");
    fault.is_newer = true;
    return fault;
  }
  if (*format < 1) return problem("is of the unknown format " + std::to_string(*format));
  if (!has_keys(object, {"checksum", "format", "step", "run", "files"}, "loss"))
    return problem("has not the keys checksum, format, step, run, files and perhaps loss");

  CheckpointState state;
  state.format = *format;
  const auto step = whole(object, "step");
  if (!step || *step > static_cast<std::uint64_t>(kMostSteps))
    return problem("has no step from 0 to " + std::to_string(kMostSteps));
  state.step = static_cast<std::int64_t>(*step);
  if (const auto loss = object.find("loss"); loss != object.end()) {
    if (!loss->is_number()) return problem("has a loss that is no number");
    state.loss = loss->get<double>();
  }
  state.run = object["run"];
  if (!state.run.is_object()) return problem("has a run that is no object");
  if (!object["files"].is_object()) return problem("has files that are no object");
  for (const auto& [name, file] : object["files"].items()) {
    if (name != kNumbers && name != kAdapterConfig && name != kAdapterNumbers)
      return problem("names " + quote(name) + ", which is no file of a checkpoint");
    const auto bytes = has_keys(file, {"bytes", "checksum"}) ? whole(file, "bytes") : std::nullopt;
    const auto sum =
        bytes && file["checksum"].is_string() ? from_hex(file["checksum"].get_ref<const std::string&>()) : std::nullopt;
    if (!sum) return problem("does not say size and checksum of " + quote(name));
    state.files[name] = {*bytes, *sum};
  }
  if (!state.files.contains(kNumbers)) return problem("does not name state.safetensors");
  if (state.files.contains(kAdapterConfig) != state.files.contains(kAdapterNumbers))
    return problem("names a half of the adapter");
  return state;
}

Result<std::map<std::string, TrainedView>> trained_of(const model::Safetensors& file) {
  const auto problem = [](const std::string& what) { return Error{std::string(kNumbers) + ": " + what}; };
  std::map<std::string, TrainedView> trained;
  for (const auto& [name, tensor] : file.tensors()) {
    if (name == kWritten) continue;
    const std::string& full = name;  // clang 14 lets no lambda capture a binding
    const auto row =
        std::find_if(kRows.begin(), kRows.end(), [&](const RowName& it) { return full.starts_with(it.prefix); });
    const std::string what = "tensor " + quote(name);
    if (row == kRows.end() || name.size() == row->prefix.size()) return problem(what + " is no row of a matrix");
    if (tensor.stored != Stored::kF32 || tensor.shape.size() != 2 || tensor.count() == 0)
      return problem(what + " is no matrix of F32");
    if (reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignof(float) != 0)
      return problem(what + " begins in the middle of a number");
    TrainedView& view = trained[name.substr(row->prefix.size())];
    const std::int64_t rows = tensor.shape[0], cols = tensor.shape[1];
    if (view.rows != 0 && (view.rows != rows || view.cols != cols))
      return problem(what + " is of another size than the other rows of its matrix");
    view.rows = rows;
    view.cols = cols;
    view.*row->read = {reinterpret_cast<const float*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(float)};
  }
  if (trained.empty()) return problem("there is no matrix in it");
  const bool has_average = !trained.begin()->second.average.empty();
  for (const auto& [name, view] : trained)
    for (const RowName& row : kRows)
      if ((view.*row.read).empty() != (row.read == &TrainedView::average && !has_average))
        return problem("matrix " + quote(name) + " has other rows than it should: values, first, second, and " +
                       "average with all matrices or none");
  return trained;
}

Result<std::string> written_of(const model::Safetensors& file) {
  const auto found = file.tensors().find(kWritten);
  if (found == file.tensors().end()) return std::string();
  const model::Tensor& it = found->second;
  if (it.stored != Stored::kU8 || it.shape.size() != 1)
    return Error{std::string(kNumbers) + ": tensor " + quote(kWritten) + " is no list of U8"};
  return std::string(reinterpret_cast<const char*>(it.bytes.data()), it.bytes.size());
}

Result<std::monostate> write_checkpoint(const fs::path& folder, const Checkpoint& checkpoint) {
  const std::string what = "the checkpoint of step " + std::to_string(checkpoint.step) + " cannot be written: ";
  if (const std::string why = misfit(checkpoint); !why.empty()) return Error{what + why};
  try {
    // What cannot come back is found before anything is written: a NaN would come back as null.
    CheckpointState state{checkpoint.written.empty() ? 1 : kFormatOfWritten,
                          checkpoint.step,
                          checkpoint.loss,
                          checkpoint.run,
                          {{std::string(kNumbers), {}}}};
    const auto again = parse_state(text_of(state));
    if (!again) return Error{what + "its state could not be read again: " + again.error().what};
    if (again->run != state.run) return Error{what + "what the run goes on with has a number that JSON does not have"};

    std::map<std::string, model::WrittenTensor> tensors;
    for (const auto& [name, matrix] : checkpoint.trained)
      for (const RowName& row : kRows)
        if (const std::vector<float>& numbers = matrix.*row.written; !numbers.empty())
          tensors[std::string(row.prefix) + name] = {
              Stored::kF32, {matrix.rows, matrix.cols}, std::as_bytes(std::span(numbers))};
    if (!checkpoint.written.empty())
      tensors[std::string(kWritten)] = {Stored::kU8,
                                        {static_cast<std::int64_t>(checkpoint.written.size())},
                                        std::as_bytes(std::span(checkpoint.written))};
    if (auto written = model::write_safetensors(folder / kNumbers, tensors); !written)
      return Error{what + written.error().what};
    if (checkpoint.adapter) {
      if (auto written = model::write_peft(folder / "adapter", *checkpoint.adapter); !written)
        return Error{what + written.error().what};
      state.files[std::string(kAdapterConfig)] = state.files[std::string(kAdapterNumbers)] = {};
    }
    const auto opened = open_folder(folder);
    if (!opened) return Error{what + opened.error().what};
    for (auto& [name, file] : state.files) {
      const auto measured = measure(*opened, name);
      if (!measured) return Error{what + measured.error().what};
      file = *measured;
    }
    // The last: it syncs the folder, too, and with it the adapter's name.
    const std::string text = text_of(state);
    if (text.size() > kMostState) return Error{what + "what the run goes on with is too large"};
    if (auto written = write_whole(folder / kState, text, 0644); !written) return Error{what + written.error().what};
  } catch (const json::exception& exception) {
    return Error{what + shown(exception.what(), 200)};
  }
  return std::monostate{};
}

Result<CheckpointState, CheckpointFault> look_at_checkpoint(const fs::path& folder) {
  const auto opened = open_folder(folder);
  if (!opened) return CheckpointFault{opened.error().what};
  return look_at(*opened);
}

Result<LoadedCheckpoint, CheckpointFault> read_checkpoint(const fs::path& folder) {
  const auto opened = open_folder(folder);
  if (!opened) return CheckpointFault{opened.error().what};
  auto state = look_at(*opened);
  if (!state) return state.error();
  for (const auto& [name, written] : state->files) {
    const auto measured = measure(*opened, name);
    if (!measured) return CheckpointFault{measured.error().what};
    if (measured->bytes != written.bytes) return CheckpointFault{wrong_size(name, measured->bytes, written.bytes)};
    if (measured->checksum != written.checksum)
      return CheckpointFault{name + " is damaged: its checksum is " + hex(measured->checksum) + ", and was " +
                             hex(written.checksum)};
  }
  auto file = model::Safetensors::open(folder / kNumbers);
  if (!file) return CheckpointFault{file.error().what};
  auto trained = trained_of(*file);
  if (!trained) return CheckpointFault{trained.error().what};
  auto written = written_of(*file);
  if (!written) return CheckpointFault{written.error().what};
  return LoadedCheckpoint{folder, *std::move(state), *std::move(file), *std::move(trained), *std::move(written)};
}

}  // namespace orch::train
