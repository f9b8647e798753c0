// Running the hub's own program (`hf`, or `huggingface-cli` of older installations) and understanding why it failed.
//
// Holds:
//  - No shell. The token reaches the program through its environment alone, and what the program prints is passed on
//    with the token blotted out.
//  - The program ends when we do.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace orch::cache {

/// Passes text on with every occurrence of the secrets replaced, wherever the pieces that it comes in are cut.
class Blotter {
 public:
  explicit Blotter(std::vector<std::string> secrets);
  /// What of the text so far can be shown.
  std::string pass(std::string_view piece);
  /// The rest.
  std::string end();

 private:
  std::string take(std::size_t keep);
  std::vector<std::string> secrets_;
  std::string held_;
};

struct HubProgram {
  std::string path;
  std::vector<std::string> words;  ///< `hf download`
};
/// Looked for on the PATH.
std::optional<HubProgram> find_hub_program();

struct HubRun {
  int code = 0;      ///< 128 + the signal if one ended it
  std::string tail;  ///< the last of what it printed
};
using Show = std::function<void(std::string_view)>;
/// `variables` (`NAME=value`) win over those that we have ourselves.
Result<HubRun> run_hub(const HubProgram& program, const std::vector<std::string>& arguments,
                       const std::vector<std::string>& variables, const Show& show);

/// The tokens that our environment holds.
std::vector<std::string> tokens_in_environment();

enum class HubFailure {
  kGated,       ///< its licence was not accepted, or nobody said who asks
  kNotFound,    ///< no such repository, or a private one
  kNoRevision,  ///< no such branch, tag or commit
  kOffline,     ///< told to stay offline
  kNetwork,     ///< the hub cannot be reached
  kBusy,        ///< the hub asks for patience
  kDisk,        ///< no room or no right to write
  kOther,
};
std::string_view name_of(HubFailure failure);
/// From what the program printed last.
HubFailure why_it_failed(std::string_view tail);

}  // namespace orch::cache
