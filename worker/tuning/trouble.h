// Why something cannot be done, with the policy's cause for it.
#pragma once

#include <string>

namespace orch::tuning {

struct Trouble {
  std::string cause, reason;
};

}  // namespace orch::tuning
