// What the strand and the server do not wait for.
#include "orchd/errands.h"

#include <gmock/gmock.h>

#include <future>
#include <stdexcept>

namespace orch::orchd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Errands, GoOnAfterOneThatThrewAndTellOfIt) {
  std::vector<std::string> told;
  std::promise<void> done;
  {
    Errands errands([&](const std::string& what) { told.push_back(what); });
    errands.put([] { throw std::runtime_error("the disk is gone"); });
    errands.put([] { throw 7; });
    errands.put([&] { done.set_value(); });
    done.get_future().wait();
  }
  EXPECT_THAT(told, ElementsAre(HasSubstr("the disk is gone"), HasSubstr("no std::exception")));
}

TEST(Errands, NeedNobodyToBeTold) {
  std::promise<void> done;
  Errands errands(nullptr);
  errands.put([] { throw std::runtime_error("unheard"); });
  errands.put([&] { done.set_value(); });
  done.get_future().wait();
}

}  // namespace
}  // namespace orch::orchd
