#include "model/file_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace orch::model {

Result<std::shared_ptr<const FileMap>> FileMap::open(const std::filesystem::path& path) {
  const auto problem = [&](const char* what) {
    return Error{path.string() + ": " + what + ": " + std::strerror(errno)};
  };
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return problem("cannot be opened");
  struct stat about {};
  const bool known = fstat(file, &about) == 0;
  const auto size = static_cast<std::size_t>(known ? about.st_size : 0);
  void* data = nullptr;
  if (known && S_ISREG(about.st_mode) && size > 0) data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  const int why = errno;
  close(file);
  if (!known || data == MAP_FAILED) {
    errno = why;
    return problem("cannot be read");
  }
  if (!S_ISREG(about.st_mode)) return Error{path.string() + ": is not a file"};
  if (size == 0) return Error{path.string() + ": is empty"};
  return std::shared_ptr<const FileMap>(new FileMap(static_cast<const std::byte*>(data), size));
}

void FileMap::forget() const { madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED); }

FileMap::~FileMap() { munmap(const_cast<std::byte*>(data_), size_); }

}  // namespace orch::model
