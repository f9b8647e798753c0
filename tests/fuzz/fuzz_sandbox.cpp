#include "promise.h"
#include "sandbox/wire.h"
#include "targets.h"

namespace orch::fuzz {

void sandbox_target(std::string_view bytes) {
  // A frame says its length first: what is written of what was read is what was read.
  const auto same = [bytes](const auto& read) {
    promise(!read || std::string_view(write(*read)).substr(sizeof(std::uint64_t)) == bytes, "nothing is lost or added");
  };
  same(sandbox::read_request(bytes));
  same(sandbox::read_outcome(bytes));
}

}  // namespace orch::fuzz
