// Telling somebody outside, by a program that the machine has: the command that was given, sendmail, curl.
//
// Holds: no shell; a text of a user's (the name of a sweep) is data wherever it goes; nobody waits longer than a minute
// for each target.
#pragma once

#include <string>

#include "base/result.h"
#include "notify/target.h"

namespace orch::notify {

struct Message {
  std::string kind;   ///< of the notice; `test`
  std::string text;   ///< a sentence
  std::string sweep;  ///< its id; empty: of none
  std::string host;   ///< of the daemon
  std::string at;     ///< UTC, as JSON has it
};

/// The JSON that commands and webhooks get: kind, text, sweep (or null), host, at.
std::string to_json(const Message& message);

/// The error says what became of it, for the journal.
Result<std::monostate> tell(const Target& target, const Message& message);

}  // namespace orch::notify
