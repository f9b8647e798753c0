// check FILE: reads a file of rewards; says what is wrong with it, and ends with 1 if anything is.
#include <iostream>

#include "reward/load_reward.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  orch::Diagnostics diagnostics;
  const bool is_read = orch::reward::load_reward(argv[1], diagnostics).has_value();
  diagnostics.print(std::cerr);
  return is_read ? 0 : 1;
}
