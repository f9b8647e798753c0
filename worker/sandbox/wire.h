// What the caller and orch-sandbox say to each other over a socket: one request, one outcome. Both are of one build.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "sandbox/program.h"

namespace orch::sandbox {

struct Request {
  Program program;
  Limits limits;
};

/// Bytes that a request may have, in all.
inline constexpr std::size_t kMostRequest = 64U << 20;

/// With their length in front.
std::string write(const Request& request);
std::string write(const Outcome& outcome);

/// Of what write() made, whole; nothing: it is something else.
std::optional<Request> read_request(std::string_view bytes);
std::optional<Outcome> read_outcome(std::string_view bytes);

/// Reads from `descriptor` what write() made; nothing: its other end is gone, or it is too long.
std::optional<std::string> receive(int descriptor, std::size_t most);

}  // namespace orch::sandbox
