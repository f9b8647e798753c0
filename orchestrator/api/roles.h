// Who may ask for what.
//
// Holds:
//  - Over the Unix socket a caller is who the kernel says. The daemon's own account and root are admins; others have
//  the
//    role of the groups that they are in, or none.
//  - Over TLS a caller has the user's token (admin: it is the account's own) or a job's token (that job's calls alone).
//  - A job's token is 256 bits, made from a secret of the state directory and the job's name: it is the same after a
//    restart, and says nothing about another's.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "http/message.h"

namespace orch::api {

enum class Role { kNone, kRead, kSubmit, kAdmin };
std::string_view name_of(Role role);

/// Unix groups whose members have a role in a daemon of a shared account; empty: nobody has.
struct RoleGroups {
  std::string read, submit, admin;
};

class Gate {
 public:
  /// Reads, or draws and writes, `secret` and `user.token` (0600) in the folder.
  static Result<Gate> open(const std::filesystem::path& folder, RoleGroups groups);

  Role role_of(const http::Peer& peer) const;
  /// Who it is, for the journal: a login name, or the number.
  std::string user_of(const http::Peer& peer) const;

  /// 64 hexadecimal digits.
  std::string token_of_job(std::string_view job) const;
  bool is_job(const http::Peer& peer, std::string_view job) const;

 private:
  Gate(http::Secret secret, http::Secret user_token, RoleGroups groups);

  http::Secret secret_, user_token_;
  RoleGroups groups_;
};

}  // namespace orch::api
