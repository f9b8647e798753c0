// A text that is learnt from.
#pragma once

#include <cstdint>
#include <vector>

namespace orch::train {

struct Sample {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t>
      trained;   ///< of each id 1 or 0; of the first 0: there is nothing that it could be told from
  int line = 0;  ///< of its row in the data set; of a block that of the row which it begins with
};

}  // namespace orch::train
