#include "base/whole_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace orch {

namespace fs = std::filesystem;

Error system_error(const std::string& what) { return Error{what + ": " + std::strerror(errno)}; }

void sync_folder(const fs::path& folder) {
  const Descriptor opened(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot; the rename itself is still atomic there.
  if (opened.is_open()) ::fsync(opened.get());
}

Result<std::string> read_small(const fs::path& file, std::size_t most) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return system_error("cannot read " + file.string());
  std::string text(most + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > most) return Error{file.string() + " is larger than anything that is read there"};
  return text;
}

Result<WholeFile> WholeFile::open(const fs::path& file, mode_t mode) {
  fs::path aside = file.string() + ".new";
  Descriptor out(::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!out.is_open()) return system_error("cannot write " + aside.string());
  return WholeFile(file, std::move(aside), std::move(out), mode);
}

WholeFile::~WholeFile() {
  if (out_.is_open()) ::unlink(aside_.c_str());
}

Result<std::monostate> WholeFile::append(std::string_view bytes) {
  if (!write_all(out_.get(), bytes)) return system_error("cannot write " + aside_.string());
  return std::monostate{};
}

Result<std::monostate> WholeFile::finish() {
  // Said of the file itself: an account's mask would take something off.
  if (::fchmod(out_.get(), mode_) != 0 || ::fsync(out_.get()) != 0)
    return system_error("cannot write " + aside_.string());
  if (::rename(aside_.c_str(), file_.c_str()) != 0) return system_error("cannot rename " + aside_.string());
  out_.close();
  sync_folder(file_.parent_path());
  return std::monostate{};
}

Result<std::monostate> write_whole(const fs::path& file, std::string_view text, mode_t mode) {
  auto out = WholeFile::open(file, mode);
  if (!out) return out.error();
  if (auto written = out->append(text); !written) return written;
  return out->finish();
}

}  // namespace orch
